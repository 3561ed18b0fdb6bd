"""Probabilities in proportion to sizes, and a systematic draw that keeps them exactly."""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

# Parts that make up a probability of 1. Whole numbers add up without rounding.
ONE = 2**40


def proportional_parts(size: Float64[Tensor, " items"], count: int) -> Int64[Tensor, " items"]:
    """Return the probability of each item, in parts of `ONE`, summing to `count` exactly.

    It is proportional to the size; an item whose share exceeds certainty is certain, and the others
    share the rest. Every item of positive size has a positive probability. Where fewer than `count`
    sizes are positive, the other items share the rest equally.
    """
    falling, order = size.sort(descending=True, stable=True)
    num_positive = int((falling > 0).sum())
    # However small the others are, a place is left for them.
    certain = min(_num_certain(falling[:num_positive], count), count - 1)
    rest = falling[certain:]
    rest = rest / rest[0] if certain < num_positive else torch.ones_like(rest)
    parts = torch.full_like(order, ONE)
    share = rest / rest.sum() * (count - certain)
    parts[certain:] = (share * ONE).ceil().clamp(max=ONE)
    # Rounded up, or what is small could never be chosen; the largest makes up for it.
    parts[:num_positive].clamp_(min=1)
    parts[certain] -= parts.sum() - count * ONE
    return torch.empty_like(parts).scatter_(0, order, parts)


def _num_certain(falling: Float64[Tensor, " positive"], count: int) -> int:
    """Return how many of the largest sizes reach 1 / n of the rest, n being the places left.

    In logarithms, or what is small beside the largest would be lost in their sums.
    """
    log_size = falling.log()
    log_rest = log_size.flip(0).logcumsumexp(dim=0).flip(0)
    left = (count - torch.arange(len(falling), device=falling.device)).clamp(min=0).double()
    return int((log_size + left.log() >= log_rest).sum())


def draw_systematically(
    parts: Int64[Tensor, " items"], generator: torch.Generator
) -> Int64[Tensor, " count"]:
    """Choose the items in which a comb with teeth of distance `ONE` ends, at a random place.

    The parts lie one behind the other, so the sample is spread over the order of the items. No item
    is longer than the distance of two teeth, so none is chosen twice, and one is met as often as
    its parts say: with probability parts / ONE.
    """
    phase = torch.randint(ONE, (1,), generator=generator, device=generator.device)
    ends = parts.cumsum(dim=0)
    teeth = torch.arange(int(ends[-1]) // ONE, device=parts.device) * ONE + phase.to(parts.device)
    return torch.searchsorted(ends, teeth, right=True)
