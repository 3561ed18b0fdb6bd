"""The training targets of the detector (supplement A.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aps import pairwise_tiou

# Boundaries and proposals often lie exactly on the edge of a snippet. A tolerance far below a
# snippet and far above rounding decides these cases the same way every time.
_EDGE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Assignment:
    """The ground truth each proposal is compared with.

    Attributes:
        segments: (start, end); (0, 0), which overlaps nothing, in a video without ground truth.
        labels: Class of the segment; None if there are no labels.
    """

    segments: Float[Tensor, "batch proposals 2"]
    labels: Int[Tensor, "batch proposals"] | None


def assign_ground_truth(
    proposals: Float[Tensor, "batch proposals 2"],
    gt_segments: Sequence[Float[Tensor, "instances 2"]],
    *,
    gt_labels: Sequence[Int[Tensor, " instances"]] | None = None,
) -> Assignment:
    """Assign to each proposal the instance of its video that it overlaps most.

    Ties go to the first instance; so do proposals that overlap none, whose tIoU is 0.

    Args:
        proposals: (start, end), normalised.
        gt_segments: Instances of each video, normalised; a video may have none.
        gt_labels: Classes of the instances, if they have any.
    """
    segments, labels = [], []
    for video, (candidates, instances) in enumerate(zip(proposals, gt_segments, strict=True)):
        instances = instances.to(candidates)
        video_labels = None if gt_labels is None else gt_labels[video].to(candidates.device).long()
        if len(instances) == 0:
            instances = instances.new_zeros(1, 2)
            video_labels = None if video_labels is None else video_labels.new_zeros(1)
        best = pairwise_tiou(candidates, instances).argmax(dim=1)
        segments.append(instances[best])
        if video_labels is not None:
            labels.append(video_labels[best])
    return Assignment(torch.stack(segments), torch.stack(labels) if labels else None)


def check_ground_truth(
    gt_segments: Sequence[Tensor],
    *,
    gt_labels: Sequence[Tensor] | None,
    batch_size: int,
    num_classes: int,
) -> None:
    """Refuse invalid ground truth, which would train the detector on wrong targets.

    Args:
        gt_segments: One tensor of shape [instances, 2] per video.
        gt_labels: One tensor of shape [instances] per video; used only if `num_classes` is not 0.
        batch_size: Videos of the batch.
        num_classes: Classes of the detector; 0: it has none.

    Raises:
        ValueError: If segments or labels are missing, of the wrong shape or out of their range.
    """
    if len(gt_segments) != batch_size:
        raise ValueError(
            f"detection_loss(gt_segments=...): expected one tensor per video, {batch_size}, got "
            f"{len(gt_segments)}. Pass an empty tensor of shape (0, 2) for a video without actions."
        )
    for video, segments in enumerate(gt_segments):
        if segments.ndim != 2 or segments.shape[1] != 2:
            raise ValueError(
                f"detection_loss(gt_segments[{video}]=...): expected shape (instances, 2), got "
                f"{tuple(segments.shape)}. Pass one (start, end) per row."
            )
        start, end = segments.unbind(-1)
        if not bool(((start >= 0) & (start <= end) & (end <= 1)).all()):
            raise ValueError(
                f"detection_loss(gt_segments[{video}]=...): expected 0 <= start <= end <= 1, got "
                f"{segments.tolist()}. Divide by the duration of the video and clip."
            )
    if num_classes:
        _check_labels(gt_segments, gt_labels=gt_labels, num_classes=num_classes)


def _check_labels(
    gt_segments: Sequence[Tensor], *, gt_labels: Sequence[Tensor] | None, num_classes: int
) -> None:
    expected = [len(segments) for segments in gt_segments]
    found = None if gt_labels is None else [len(labels) for labels in gt_labels]
    if gt_labels is None or found != expected:
        raise ValueError(
            f"detection_loss(gt_labels=...): expected one label per instance, {expected}, got "
            f"{found}; this detector classifies. Pass them, or use num_classes=0."
        )
    labels = torch.cat([labels.cpu() for labels in gt_labels])
    if not bool(((labels >= 0) & (labels < num_classes)).all()):
        raise ValueError(
            f"detection_loss(gt_labels=...): expected values in [0, {num_classes}), got "
            f"{labels.tolist()}. Build the detector with num_classes for all classes."
        )


def boundary_targets(
    gt_segments: Sequence[Float[Tensor, "instances 2"]],
    *,
    num_snippets: int,
    region_snippets: float,
) -> Float[Tensor, "batch snippets 2"]:
    """Return how much of each snippet lies near a start, and near an end.

    Near is `region_snippets` around the boundary, whatever the length of the action. A snippet of
    which more than half is near counts as positive: with a region of three snippets, three of them,
    or two where the boundary falls on an edge between snippets.

    Args:
        gt_segments: Instances of each video, normalised; a video may have none.
        num_snippets: Snippets of each video.
        region_snippets: Width of the region, in snippets.

    Returns:
        Covered fraction of the snippet, the largest over the instances: starts, then ends.
    """
    return torch.stack(
        [
            _covered(segments * num_snippets, num_snippets, region_snippets)
            for segments in gt_segments
        ]
    )


def _covered(
    boundaries: Float[Tensor, "instances 2"], num_snippets: int, region_snippets: float
) -> Float[Tensor, "snippets 2"]:
    """Return the fraction of each snippet that the regions of one video cover."""
    snippet = torch.arange(num_snippets, device=boundaries.device)[:, None, None]
    lower = (boundaries - region_snippets / 2).maximum(snippet)
    upper = (boundaries + region_snippets / 2).minimum(snippet + 1)
    covered = (upper - lower - _EDGE_TOLERANCE).clamp(min=0)
    # A row of zeros, the maximum for a video without instances.
    return torch.cat([covered, covered.new_zeros(num_snippets, 1, 2)], dim=1).amax(dim=1)


def at_proposal_boundaries(
    targets: Float[Tensor, "batch snippets 2"], proposals: Float[Tensor, "batch proposals 2"]
) -> Float[Tensor, "batch proposals 2"]:
    """Look up the boundary targets of the snippets in which each proposal starts and ends."""
    num_snippets = targets.shape[1]
    snippet = (proposals * num_snippets + _EDGE_TOLERANCE).floor().long()
    return targets.gather(1, snippet.clamp(0, num_snippets - 1))
