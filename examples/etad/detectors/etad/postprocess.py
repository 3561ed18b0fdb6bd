"""From the output of the detector to detections in seconds (paper supplement A.4)."""

from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from examples.etad.detectors.etad.boundary_gate import (
    boundary_mask as boundary_mask,
    containing_snippet,
    pass_boundary_gate,
)
from examples.etad.detectors.etad.postprocess_config import PostprocessConfig as PostprocessConfig
from examples.etad.detectors.soft_nms import soft_nms as soft_nms
from examples.etad.segments import Detections

_DEFAULT = PostprocessConfig()
_ClassProbabilities = Float[Tensor, "proposals classes"] | Float[Tensor, " classes"]
_Labelled = tuple[Float[Tensor, "rows 2"], Float[Tensor, " rows"], Int64[Tensor, " rows"]]


def postprocess(
    segments: Float[Tensor, "proposals 2"],
    iou: Float[Tensor, "proposals 2"],
    *,
    startness: Float[Tensor, " snippets"],
    endness: Float[Tensor, " snippets"],
    duration_s: float,
    class_probabilities: _ClassProbabilities | None = None,
    config: PostprocessConfig = _DEFAULT,
) -> Detections:
    """Select, rank and label the proposals of one video.

    Clip to the video; drop segments without length and those that fail the boundary gate; score;
    soft-NMS; give each segment its most probable classes, each with the score of the segment times
    the probability of the class. If no segment passes the gate, there are no detections.

    Segments are clipped first, so that soft-NMS compares them as they are reported; the released
    code clips last.

    Args:
        segments: Refined proposals, normalised by the duration; the mean over the stages.
        iou: Predicted IoU of each, by classification and by regression, in [0, 1]; the mean over
            the stages.
        startness: Probability that an action starts in each snippet.
        endness: Probability that an action ends in each snippet.
        duration_s: Duration of the video.
        class_probabilities: Probability of each class, for the whole video or for each proposal.
            None for a detector without classes: all labels are 0.
        config: What to keep and how to score it.

    Returns:
        Detections within [0, `duration_s`], best first, on the CPU in float64.

    Raises:
        ValueError: If shapes disagree, a value is not finite, a probability is outside [0, 1], a
            class probability is negative, or the duration is not positive.
    """
    _check_outputs(segments, iou=iou, startness=startness, endness=endness)
    _check_duration(duration_s)
    _check_class_probabilities(class_probabilities, count=len(segments))
    segments, iou, startness, endness = map(_plain, (segments, iou, startness, endness))
    segments = segments.clamp(0, 1)
    keep = segments[:, 0] < segments[:, 1]
    if config.boundary_gate:
        keep &= pass_boundary_gate(segments, startness=startness, endness=endness)
    scores = iou.prod(dim=1)
    if config.score == "boundary_iou":
        scores = scores * _at_bounds(segments, startness=startness, endness=endness)
    probabilities = torch.ones(1) if class_probabilities is None else class_probabilities
    found, scores, labels = _suppress(
        segments[keep],
        scores[keep],
        probabilities=_plain(probabilities).expand(len(segments), -1)[keep],
        config=config,
    )
    return Detections(found * duration_s, scores, labels).top(len(labels))


def _at_bounds(
    segments: Float[Tensor, "proposals 2"],
    *,
    startness: Float[Tensor, " snippets"],
    endness: Float[Tensor, " snippets"],
) -> Float[Tensor, " proposals"]:
    """Return the startness where each segment starts times the endness where it ends."""
    snippet = containing_snippet(segments, num_snippets=len(startness))
    return startness[snippet[:, 0]] * endness[snippet[:, 1]]


def _suppress(
    segments: Float[Tensor, "proposals 2"],
    scores: Float[Tensor, " proposals"],
    *,
    probabilities: Float[Tensor, "proposals classes"],
    config: PostprocessConfig,
) -> _Labelled:
    """Run soft-NMS and give classes, in the order that the configuration asks for."""
    copies = min(config.top_classes, probabilities.shape[1])
    suppress = partial(soft_nms, sigma=config.sigma, min_score=config.min_score)
    if config.nms_per_class:
        segments, scores, labels = _give_classes(
            segments, scores, probabilities=probabilities, count=copies
        )
        most = copies * config.max_detections
        index, scores = suppress(segments, scores, labels=labels, max_detections=most)
        return segments[index], scores, labels[index]
    index, scores = suppress(segments, scores, max_detections=config.max_detections)
    return _give_classes(segments[index], scores, probabilities=probabilities[index], count=copies)


def _give_classes(
    segments: Float[Tensor, "segments 2"],
    scores: Float[Tensor, " segments"],
    *,
    probabilities: Float[Tensor, "segments classes"],
    count: int,
) -> _Labelled:
    """Repeat each segment with its `count` most probable classes."""
    best, labels = probabilities.topk(count, dim=1)
    return (
        segments.repeat_interleave(count, dim=0),
        (scores[:, None] * best).flatten(),
        labels.flatten(),
    )


def _plain(tensor: Tensor) -> Tensor:
    # In two steps: not every accelerator knows float64.
    return tensor.detach().cpu().double()


def _check_outputs(segments: Tensor, *, iou: Tensor, startness: Tensor, endness: Tensor) -> None:
    _check_shape("segments", segments, expected=(len(segments), 2), axes="proposals, 2")
    _check_shape("iou", iou, expected=(len(segments), 2), axes="proposals, 2")
    _check_shape("startness", startness, expected=(max(startness.numel(), 1),), axes="snippets")
    _check_shape("endness", endness, expected=(len(startness),), axes="snippets")
    if not bool(segments.isfinite().all()):
        row = int((~segments.isfinite().all(dim=1)).nonzero()[0])
        raise ValueError(
            f"postprocess(segments=...): expected finite bounds, got {segments[row].tolist()} for "
            f"proposal {row}. The training has diverged, or the refinement is not bounded."
        )
    for name, value in (("iou", iou), ("startness", startness), ("endness", endness)):
        _check_probability(name, value, upper=1.0)


def _check_duration(duration_s: float) -> None:
    if not 0 < duration_s < float("inf"):
        raise ValueError(
            f"postprocess(duration_s={duration_s}): expected the length of the video in seconds."
        )


def _check_class_probabilities(probabilities: Tensor | None, *, count: int) -> None:
    if probabilities is None:
        return
    num_classes = max(probabilities.shape[-1:].numel(), 1)
    expected = (num_classes,) if probabilities.ndim < 2 else (count, num_classes)
    _check_shape(
        "class_probabilities",
        probabilities,
        expected=expected,
        axes="classes or proposals, classes",
    )
    # External classifiers are not always normalised.
    _check_probability("class_probabilities", probabilities, upper=float("inf"))


def _check_shape(name: str, value: Tensor, *, expected: tuple[int, ...], axes: str) -> None:
    if value.shape != expected:
        raise ValueError(
            f"postprocess({name}=...): expected shape {list(expected)} ({axes}), got "
            f"{list(value.shape)}. Pass one video at a time."
        )


def _check_probability(name: str, value: Tensor, *, upper: float) -> None:
    # Written so that NaN fails as well.
    good = (value >= 0) & (value <= upper) & value.isfinite()
    if not bool(good.all()):
        raise ValueError(
            f"postprocess({name}=...): expected finite values in [0, {upper:g}], got "
            f"{value[~good][0].item():g}. Apply the sigmoid or softmax first; NaN means that the "
            "training has diverged."
        )
