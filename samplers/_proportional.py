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
    order = size.argsort(descending=True, stable=True)
    falling = size[order]
    falling = falling / falling[0] if falling[0] > 0 else torch.ones_like(falling)
    # From the smallest on, so that no digits cancel.
    tail = falling.flip(0).cumsum(dim=0).flip(0)
    left = count - torch.arange(len(size), device=size.device)
    certain = int(((falling > 0) & (falling * left >= tail)).sum())
    rest = falling[certain:]
    if rest.numel() and rest[0] == 0:
        rest = torch.ones_like(rest)
    parts = torch.full_like(order, ONE)
    share = rest * ((count - certain) / rest.sum())
    # Rounded up, or what is small could never be chosen; the largest makes up for it.
    parts[certain:] = (share * ONE).ceil().long().clamp(max=ONE)
    if rest.numel():
        parts[certain] -= parts.sum() - count * ONE
    return torch.empty_like(parts).scatter_(0, order, parts)


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
