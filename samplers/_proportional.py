"""Inclusion probabilities in proportion to sizes, and a systematic draw with exactly these."""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

# A probability of 1, in integer parts. Integers add up without rounding.
ONE = 2**40


def proportional_parts(size: Float64[Tensor, " items"], count: int) -> Int64[Tensor, " items"]:
    """Return the probability of each item, in parts of `ONE`, summing to `count` exactly.

    It is proportional to the size. An item whose share would exceed 1 gets 1, and the others share
    the rest. Every item of positive size has a positive probability. If fewer than `count` sizes
    are positive, the items of size 0 share the rest equally.
    """
    falling, order = size.sort(descending=True, stable=True)
    num_positive = int((falling > 0).sum())
    # At least one place is left for the others, however small they are.
    certain = min(_num_certain(falling[:num_positive], count), count - 1)
    rest = falling[certain:]
    rest = rest / rest[0] if certain < num_positive else torch.ones_like(rest)
    parts = torch.full_like(order, ONE)
    share = rest / rest.sum() * (count - certain)
    parts[certain:] = (share * ONE).ceil().clamp(max=ONE)
    # Rounded up, so that small items can be chosen. The largest item balances the sum.
    parts[:num_positive].clamp_(min=1)
    parts[certain] -= parts.sum() - count * ONE
    return torch.empty_like(parts).scatter_(0, order, parts)


def _num_certain(falling: Float64[Tensor, " positive"], count: int) -> int:
    """Return how many of the largest sizes are at least 1 / n of the rest, for n places left.

    In logarithms: small sizes would be lost in sums with the largest.
    """
    log_size = falling.log()
    log_rest = log_size.flip(0).logcumsumexp(dim=0).flip(0)
    left = (count - torch.arange(len(falling), device=falling.device)).clamp(min=0).double()
    return int((log_size + left.log() >= log_rest).sum())


def draw_systematically(
    parts: Int64[Tensor, " items"], generator: torch.Generator
) -> Int64[Tensor, " count"]:
    """Draw systematically: lay the parts end to end and choose the item at every `ONE`-th part.

    The first position is random. The sample is spread over the order of the items. No item has more
    than `ONE` parts, so none is chosen twice, and each is chosen with probability parts / ONE.
    """
    phase = torch.randint(ONE, (1,), generator=generator, device=generator.device)
    ends = parts.cumsum(dim=0)
    teeth = torch.arange(int(ends[-1]) // ONE, device=parts.device) * ONE + phase.to(parts.device)
    return torch.searchsorted(ends, teeth, right=True)
