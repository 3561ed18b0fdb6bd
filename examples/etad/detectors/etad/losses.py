"""The losses of the detector (supplement A.3, equation 1).

As in `balanced_losses.py`, all are in single precision, finite, and connected to the predictions.
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aps.tiou import paired_tiou
from examples.etad.detectors.etad.balanced_losses import (
    balanced_bce,
    masked_mean,
    tiou_regression,
    weighted_bce,
)
from examples.etad.detectors.etad.config import DetectorConfig
from examples.etad.detectors.etad.offsets import encode_offsets
from examples.etad.detectors.etad.output import DetectorOutput, StageOutput, at_least_float32
from examples.etad.detectors.etad.targets import (
    Assignment,
    assign_ground_truth,
    at_proposal_boundaries,
    boundary_targets,
    check_ground_truth,
)


def detection_loss(
    output: DetectorOutput,
    gt_segments: Sequence[Float[Tensor, "instances 2"]],
    *,
    gt_labels: Sequence[Int[Tensor, " instances"]] | None = None,
    config: DetectorConfig,
    generator: torch.Generator | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Return the training loss and its parts.

    Instances are assigned to the initial proposals and kept through the cascade; each stage is
    compared with them by the tIoU of the proposals it was given.

    Args:
        output: Predictions for a batch.
        gt_segments: Instances of each video, (start, end) normalised to [0, 1]; may be empty.
        gt_labels: Class of each instance; required, and only used, if the detector classifies.
        config: Weights and thresholds, as given to the detector.
        generator: Draws the proposals that are left out; the global one if None.

    Returns:
        "total", to be back-propagated. Detached, for logging: "boundary", "stage1", "stage2", ...,
        which add up to it, and the weighted parts of each stage, "stage1/offsets" and so on.

    Raises:
        ValueError: If the ground truth does not fit the batch, is not normalised, or lacks labels.
    """
    proposals = output.stages[0].proposals
    check_ground_truth(
        gt_segments,
        gt_labels=gt_labels,
        batch_size=len(proposals),
        num_classes=output.num_classes,
    )
    near = _near_boundaries(output, gt_segments, config)
    assignment = assign_ground_truth(proposals, gt_segments, gt_labels=gt_labels)
    total = _boundary_loss(output, near)
    parts = {"boundary": total.detach()}
    for i, stage in enumerate(output.stages):
        terms = _stage_terms(
            stage, config, index=i, assignment=assignment, near=near, generator=generator
        )
        stage_loss = torch.stack(list(terms.values())).sum()
        total = total + stage_loss
        parts[f"stage{i + 1}"] = stage_loss.detach()
        parts |= {f"stage{i + 1}/{name}": term.detach() for name, term in terms.items()}
    return {"total": total, **parts}


def _near_boundaries(
    output: DetectorOutput,
    gt_segments: Sequence[Float[Tensor, "instances 2"]],
    config: DetectorConfig,
) -> Float[Tensor, "batch snippets 2"]:
    """Return the boundary targets in the precision and on the device of the proposals."""
    return boundary_targets(
        [segments.to(output.stages[0].proposals) for segments in gt_segments],
        num_snippets=output.startness_logits.shape[1],
        region_snippets=config.boundary_region_snippets,
    )


def _boundary_loss(
    output: DetectorOutput, near: Float[Tensor, "batch snippets 2"]
) -> Float[Tensor, ""]:
    """Return the loss of startness and endness."""
    starts, ends = (near > 0.5).unbind(-1)
    startness = weighted_bce(output.startness_logits, starts)
    return startness + weighted_bce(output.endness_logits, ends)


def _stage_terms(
    stage: StageOutput,
    config: DetectorConfig,
    *,
    index: int,
    assignment: Assignment,
    near: Float[Tensor, "batch snippets 2"],
    generator: torch.Generator | None,
) -> dict[str, Float[Tensor, ""]]:
    """Return the weighted terms of one stage of the cascade."""
    classify = partial(balanced_bce, balance=config.balance, generator=generator)
    regress = partial(tiou_regression, regress_zero=config.regress_zero_tiou, generator=generator)
    tiou = paired_tiou(stage.proposals, assignment.segments)
    starts, ends = (at_proposal_boundaries(near, stage.proposals) > 0.5).unbind(-1)
    offsets = encode_offsets(stage.proposals, assignment.segments)
    move = offset_regression(stage.offsets, offsets, positive=tiou > config.tiou_thresholds[index])
    at_start, at_end = stage.boundary_logits.unbind(-1)
    terms = {
        "tiou_classification": config.tiou_classification_weight
        * classify(stage.tiou_logits[..., 0], tiou > config.tiou_positive_threshold),
        "tiou_regression": config.tiou_regression_weight * regress(stage.tiou[..., 1], tiou),
        "offsets": config.offset_weight * move,
        "boundary": config.proposal_boundary_weight
        * (classify(at_start, starts) + classify(at_end, ends)),
    }
    if stage.class_logits is not None and assignment.labels is not None:
        terms["class"] = config.class_weight * classification(
            stage.class_logits, assignment.labels, positive=tiou > config.class_tiou_threshold
        )
    return terms


def offset_regression(
    offsets: Float[Tensor, "*batch 4"],
    targets: Float[Tensor, "*batch 4"],
    *,
    positive: Bool[Tensor, "*batch"],
) -> Tensor:
    """Return the smooth L1 losses of the four offsets, summed, in the mean over the positives."""
    losses = F.smooth_l1_loss(at_least_float32(offsets), targets, reduction="none")
    return masked_mean(losses.sum(dim=-1), positive)


def classification(
    logits: Float[Tensor, "*batch classes"],
    labels: Int[Tensor, "*batch"],
    *,
    positive: Bool[Tensor, "*batch"],
) -> Tensor:
    """Return the mean cross entropy over the positives."""
    log_probabilities = at_least_float32(logits).log_softmax(dim=-1)
    losses = -log_probabilities.gather(-1, labels[..., None]).squeeze(-1)
    return masked_mean(losses, positive)
