"""Soft non-maximum suppression of segments (paper supplement A.4)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from aps.tiou import pairwise_tiou


def soft_nms(
    segments: Float[Tensor, "segments 2"],
    scores: Float[Tensor, " segments"],
    *,
    sigma: float = 0.35,
    max_detections: int = 100,
    min_score: float = 0.0,
    labels: Int64[Tensor, " segments"] | None = None,
) -> tuple[Int64[Tensor, " kept"], Float[Tensor, " kept"]]:
    """Pick segments best first, lowering the scores of those that overlap a picked one.

    Every pick multiplies the scores of the others by exp(-tIoU² / sigma). A pick costs a fixed
    number of tensor operations over all segments.

    The last segment is picked as well, where the released code drops it (two segments gave one).

    Args:
        segments: (start, end) in any unit, start <= end.
        scores: Confidence, at least 0. The first of equal scores is picked first.
        sigma: Width of the decay; smaller values suppress more.
        max_detections: Most segments to pick, over all classes.
        min_score: Segments whose lowered score falls below this are left out.
        labels: Class of each segment; only segments of one class suppress each other. One class if
            None.

    Returns:
        Positions of the picked segments in the order of picking, and their lowered scores, which
        never increase.

    Raises:
        ValueError: If the shapes disagree, a score is negative or not finite, a segment is reversed
            or not finite, `sigma` is not positive, or `max_detections` is below 1.
    """
    check_settings("soft_nms", sigma=sigma, max_detections=max_detections)
    _check_candidates(segments, scores=scores, labels=labels)
    index = torch.empty(min(max_detections, len(scores)), dtype=torch.int64, device=scores.device)
    kept_scores = scores.new_empty(len(index))
    remaining = scores.clone()
    for turn in range(len(index)):
        pick = remaining.argmax().unsqueeze(0)
        index[turn : turn + 1] = pick
        kept_scores[turn : turn + 1] = remaining[pick]
        tiou = pairwise_tiou(segments[pick], segments)[0]
        if labels is not None:
            tiou = tiou * (labels == labels[pick])
        remaining *= torch.exp(-tiou.square() / sigma)
        # Reset all picks, not only this one: a decay that underflows to 0 turns -inf into NaN.
        remaining[index[: turn + 1]] = -torch.inf
    good = kept_scores >= min_score
    return index[good], kept_scores[good]


def check_settings(owner: str, *, sigma: float, max_detections: int) -> None:
    """Raise in the name of `owner` if soft-NMS cannot run with these settings."""
    if not 0 < sigma < float("inf"):
        raise ValueError(
            f"{owner}(sigma={sigma}): expected a positive number. 0.35 is the usual value; smaller "
            "values suppress more."
        )
    if max_detections < 1:
        raise ValueError(f"{owner}(max_detections={max_detections}): expected at least 1.")


def _check_candidates(segments: Tensor, *, scores: Tensor, labels: Tensor | None) -> None:
    count = len(segments)
    if segments.ndim != 2 or segments.shape[1] != 2:
        raise ValueError(
            f"soft_nms(segments=...): expected shape [segments, 2], got {list(segments.shape)}. "
            "Pass one (start, end) per row."
        )
    for name, value in (("scores", scores), ("labels", labels)):
        if value is not None and value.shape != (count,):
            raise ValueError(
                f"soft_nms({name}=...): expected shape [{count}], one value per segment, got "
                f"{list(value.shape)}."
            )
    # Written so that NaN fails as well.
    good_scores = (scores >= 0) & scores.isfinite()
    if not bool(good_scores.all()):
        raise ValueError(
            f"soft_nms(scores=...): expected finite scores of at least 0, got "
            f"{scores[~good_scores][0].item()}. The decay would raise a negative score; pass "
            "probabilities, not logits."
        )
    good_segments = (segments[:, 0] <= segments[:, 1]) & segments.isfinite().all(dim=1)
    if not bool(good_segments.all()):
        raise ValueError(
            f"soft_nms(segments=...): expected finite start <= end, got "
            f"{segments[~good_segments][0].tolist()}. Drop such segments first."
        )
