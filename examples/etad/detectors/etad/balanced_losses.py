"""Losses in which rare proposals count as much as common ones (supplement A.3).

Few snippets are boundaries and few proposals overlap an action well. The losses are pooled over the
batch, computed from logits in single precision at least, finite whatever the ground truth, and
connected to every prediction even where nothing is positive: no parameter is ever left without a
gradient, which DistributedDataParallel relies on. None of them waits for the device.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from examples.etad.detectors.etad.config import Balance
from examples.etad.detectors.etad.output import at_least_float32


def balanced_bce(
    logits: Float[Tensor, "*batch"],
    positive: Bool[Tensor, "*batch"],
    *,
    balance: Balance,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Return `weighted_bce` or `sampled_bce`, depending on `balance`."""
    if balance == "weighted":
        return weighted_bce(logits, positive)
    return sampled_bce(logits, positive, generator=generator)


def weighted_bce(logits: Float[Tensor, "*batch"], positive: Bool[Tensor, "*batch"]) -> Tensor:
    """Return the cross entropy in which positives and negatives weigh the same (as in BMN).

    That is the mean of the mean over either; where one is absent, the mean over the other.
    """
    losses = _bce(logits, positive)
    sides = positive.any().long() + (~positive).any().long()
    return (masked_mean(losses, positive) + masked_mean(losses, ~positive)) / sides


def sampled_bce(
    logits: Float[Tensor, "*batch"],
    positive: Bool[Tensor, "*batch"],
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the mean cross entropy over the positives and about as many random negatives.

    Each negative is kept with probability positives / negatives, at most 1: the released code,
    for lack of that limit, counts positives as negatives too where they are the majority. Without
    positives, all negatives are kept.
    """
    keep = positive | _thinned(~positive, positive.sum(), generator=generator) | ~positive.any()
    return masked_mean(_bce(logits, positive), keep)


def tiou_regression(
    predictions: Float[Tensor, "*batch"],
    tiou: Float[Tensor, "*batch"],
    *,
    regress_zero: bool,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the mean squared error over as many proposals of high, of middle and of low tIoU.

    All of tIoU above 0.7 count; of those above 0.3, and of the others, about as many are drawn.
    Where none is above 0.7, all proposals count.

    Args:
        predictions: Predicted tIoU, in [0, 1].
        tiou: True tIoU.
        regress_zero: Whether those of tIoU 0 may be drawn.
        generator: Draws the proposals; the global one if None.
    """
    high = tiou > 0.7
    middle = (tiou > 0.3) & ~high
    low = (tiou <= 0.3) & ((tiou > 0) | regress_zero)
    keep = high | ~high.any()
    for group in (middle, low):
        keep = keep | _thinned(group, high.sum(), generator=generator)
    return masked_mean((predictions - tiou).square(), keep)


def masked_mean(
    losses: Float[Tensor, "*batch"], members: Bool[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """Return the mean over the members; a zero that is part of the graph if there is none."""
    # losses[members] would wait for the device to count the members.
    return torch.where(members, losses, 0).sum() / members.sum().clamp(min=1)


def _bce(logits: Float[Tensor, "*batch"], positive: Bool[Tensor, "*batch"]) -> Tensor:
    logits = at_least_float32(logits)
    targets = positive.to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def _thinned(
    members: Bool[Tensor, "*batch"], count: Tensor, *, generator: torch.Generator | None
) -> Bool[Tensor, "*batch"]:
    """Keep each member with the probability that leaves `count` of them on average, or all."""
    device = members.device if generator is None else generator.device
    draw = torch.rand(members.shape, generator=generator, device=device).to(members.device)
    return members & (draw < count / members.sum().clamp(min=1))
