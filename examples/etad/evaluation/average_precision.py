"""ActivityNet-style mean average precision over several tIoU thresholds."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from examples.etad.evaluation.matching import match_detections
from examples.etad.evaluation.report import (
    DetectionMetrics as DetectionMetrics,
    format_markdown as format_markdown,
    format_table as format_table,
)
from examples.etad.segments import Detections, GroundTruth

ACTIVITYNET_TIOU = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
THUMOS_TIOU = (0.3, 0.4, 0.5, 0.6, 0.7)

_NO_DETECTIONS = Detections(
    torch.empty(0, 2), torch.empty(0), labels=torch.empty(0, dtype=torch.int64)
)


def evaluate_detections(
    ground_truth: Mapping[str, GroundTruth],
    detections: Mapping[str, Detections],
    *,
    class_names: Sequence[str],
    tiou_thresholds: Sequence[float] = ACTIVITYNET_TIOU,
    class_agnostic: bool = False,
) -> DetectionMetrics:
    """Compute the mAP of the detections over all videos of `ground_truth`.

    Per class, the detections of all videos are ranked by score. One is right if its tIoU with a
    still unmatched instance of its class and video reaches the threshold (equality included); it
    takes the instance of the highest tIoU. A second detection of an instance is wrong, as is one in
    a video without that class. AP is the area under the precision envelope at all recall points.
    mAP is the mean over the classes that have ground truth: a class without any has no AP, so its
    detections count nowhere but in `num_ignored_detections`.

    Equal scores rank by the order of the videos in `ground_truth`, then by row. Instances annotated
    twice count twice. Computed in float64, so that a tIoU of exactly 7/10 reaches 0.7.

    Args:
        ground_truth: Annotation of every video that counts, by name; one without instances can only
            collect false positives.
        detections: Detections by the same names. A missing video counts as one without detections
            and is listed in `videos_without_detections`.
        class_names: Names of the labels 0, 1, ....
        tiou_thresholds: Thresholds in (0, 1]; `THUMOS_TIOU` for THUMOS-14.
        class_agnostic: Take all labels for one class, to measure proposals.

    Returns:
        AP, mAP and their mean over the thresholds, all as fractions in [0, 1], and counts.

    Raises:
        ValueError: If a video of `detections` is not in `ground_truth`, there is not one instance,
            a label has no name, a class name occurs twice, or a threshold is outside (0, 1].
    """
    _check_videos(ground_truth, detections)
    _check_classes(ground_truth, detections, class_names=class_names)
    _check_thresholds(tiou_thresholds)
    found = {video: detections.get(video, _NO_DETECTIONS) for video in ground_truth}
    names = ("all classes",) if class_agnostic else tuple(class_names)
    instances = _concatenate(ground_truth.values(), class_agnostic=class_agnostic)
    ranked = _rank(found.values(), class_agnostic=class_agnostic)
    ap_per_class = _ap_per_class(ranked, instances, names=names, tiou_thresholds=tiou_thresholds)
    map_per_tiou = torch.stack(list(ap_per_class.values())).mean(dim=0)
    return DetectionMetrics(
        tiou_thresholds=tuple(float(threshold) for threshold in tiou_thresholds),
        map_per_tiou=tuple(map_per_tiou.tolist()),
        average_map=float(map_per_tiou.mean()),
        ap_per_class={name: tuple(ap.tolist()) for name, ap in ap_per_class.items()},
        classes_without_ground_truth=tuple(name for name in names if name not in ap_per_class),
        num_videos=len(ground_truth),
        num_instances=len(instances.labels),
        num_detections=len(ranked.labels),
        num_ignored_detections=int((~torch.isin(ranked.labels, instances.labels)).sum()),
        videos_without_ground_truth=tuple(v for v, item in ground_truth.items() if not len(item)),
        videos_without_detections=tuple(v for v, item in found.items() if not len(item)),
    )


class _Rows(NamedTuple):
    """The instances or detections of all videos, one after the other."""

    video: Int64[Tensor, " rows"]
    segments_s: Float64[Tensor, "rows 2"]
    labels: Int64[Tensor, " rows"]

    def groups(self, num_classes: int) -> Int64[Tensor, " rows"]:
        """Return one number for each class of each video."""
        return self.video * num_classes + self.labels


def _concatenate(
    videos: Collection[GroundTruth] | Collection[Detections], *, class_agnostic: bool
) -> _Rows:
    sizes = torch.tensor([len(video) for video in videos])
    labels = torch.cat([video.labels.cpu() for video in videos])
    return _Rows(
        video=torch.arange(len(sizes)).repeat_interleave(sizes),
        segments_s=torch.cat([video.segments_s.cpu().double() for video in videos]),
        labels=torch.zeros_like(labels) if class_agnostic else labels,
    )


def _rank(videos: Collection[Detections], *, class_agnostic: bool) -> _Rows:
    scores = torch.cat([video.scores.cpu().double() for video in videos])
    order = scores.argsort(descending=True, stable=True)
    return _Rows(*(column[order] for column in _concatenate(videos, class_agnostic=class_agnostic)))


def _ap_per_class(
    ranked: _Rows, instances: _Rows, *, names: Sequence[str], tiou_thresholds: Sequence[float]
) -> dict[str, Float64[Tensor, " thresholds"]]:
    """Return the AP of each class that has instances."""
    hits = match_detections(
        ranked.segments_s,
        ranked.groups(len(names)),
        gt_segments_s=instances.segments_s,
        gt_groups=instances.groups(len(names)),
        tiou_thresholds=torch.tensor(tiou_thresholds, dtype=torch.float64),
    )
    found, sizes = (rows.labels.bincount(minlength=len(names)) for rows in (ranked, instances))
    by_class = hits[:, ranked.labels.argsort(stable=True)].split(found.tolist(), dim=1)
    return {
        name: _average_precision(class_hits, num_instances=size)
        for name, class_hits, size in zip(names, by_class, sizes.tolist(), strict=True)
        if size
    }


def _average_precision(
    hits: Bool[Tensor, "thresholds detections"], *, num_instances: int
) -> Float64[Tensor, " thresholds"]:
    """Return the area under the precision envelope; `hits` are in the order of the ranking."""
    if not hits.shape[1]:
        return torch.zeros(len(hits), dtype=torch.float64)
    precision = hits.cumsum(dim=1).double() / torch.arange(1, hits.shape[1] + 1)
    envelope = precision.flip(1).cummax(dim=1).values.flip(1)
    # Recall grows by 1 / num_instances at a hit and nowhere else.
    return (envelope * hits).sum(dim=1) / num_instances


def _check_videos(
    ground_truth: Mapping[str, GroundTruth], detections: Mapping[str, Detections]
) -> None:
    unknown = [video for video in detections if video not in ground_truth]
    if unknown:
        raise ValueError(
            f"evaluate_detections(detections=...): {len(unknown)} of {len(detections)} videos are "
            f"not in the ground truth: {_some(unknown)}. Add their annotation or leave them out."
        )
    if not any(len(instances) for instances in ground_truth.values()):
        raise ValueError(
            f"evaluate_detections(ground_truth=...): expected at least one instance, got none in "
            f"{len(ground_truth)} videos. Without one there is no recall, so no mAP."
        )


def _check_classes(
    ground_truth: Mapping[str, GroundTruth],
    detections: Mapping[str, Detections],
    *,
    class_names: Sequence[str],
) -> None:
    repeated = sorted({name for name in class_names if class_names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"evaluate_detections(class_names=...): {_some(repeated)} occur more than once; the AP "
            "of a class is reported by its name. Rename or merge them."
        )
    for argument, videos in (("ground_truth", ground_truth), ("detections", detections)):
        for video, item in videos.items():
            if len(item) and int(item.labels.max()) >= len(class_names):
                raise ValueError(
                    f"evaluate_detections({argument}=...): label {int(item.labels.max())} of video "
                    f"{video!r} has no name, expected labels below {len(class_names)}. Pass the "
                    "class names that the labels were made with."
                )


def _check_thresholds(tiou_thresholds: Sequence[float]) -> None:
    if not tiou_thresholds or not all(0 < threshold <= 1 for threshold in tiou_thresholds):
        raise ValueError(
            f"evaluate_detections(tiou_thresholds={list(tiou_thresholds)}): expected one or more "
            "numbers in (0, 1]."
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
