"""Stratified sampling: the same number of items from every bin of a value in [0, 1]."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from samplers._finite import listed
from samplers.base import AbstractSampler

# The paper's bins: [0, 0.3), [0.3, 0.7) and [0.7, 1].
_EDGES = (0.3, 0.7)
# Tolerance around [0, 1], for the rounding of float32 quotients.
_ROUNDING = 1e-5


def bins(
    sampler: AbstractSampler, name: str, values: Float[Tensor, " items"]
) -> list[Int64[Tensor, " _"]]:
    """Return the positions of the items of each bin, in ascending order, on the CPU.

    The edges are compared in the type of the values: 0.7 in float32 is in the last bin.

    Raises:
        ValueError: If a value is outside [0, 1].
    """
    values = values.cpu()
    lowest, highest = map(float, values.aminmax())
    # False also where a value is NaN.
    if not (lowest >= -_ROUNDING and highest <= 1 + _ROUNDING):
        # In float64, as above: bounds rounded to the type of the values would accept other values.
        wide = values.double()
        bad = ~((wide >= -_ROUNDING) & (wide <= 1 + _ROUNDING))
        raise ValueError(
            f"{sampler!r}: expected {name} in [0, 1], got {float(values[bad][0])!r} (for "
            f"example) in {listed(bad)}. Pass a fraction; items without ground truth have tiou 0."
        )
    low, high = (values >= edge for edge in _EDGES)
    return [member.nonzero()[:, 0] for member in (~low, low & ~high, high)]


def water_fill(sizes: list[int], count: int) -> list[int]:
    """Share `count` items equally among bins of the given sizes.

    A bin that is too small gives all its items, and the others give the difference. The remainder
    of the division goes to the largest bins, and among equal ones to the last.
    """
    quotas = [0] * len(sizes)
    # Smallest bin first: each gives all its items, or an equal share of the rest, which every later
    # bin can give too. The division rounds down, so remainders move to later bins.
    smallest_first = sorted(range(len(sizes)), key=sizes.__getitem__)
    for served, bin_ in enumerate(smallest_first):
        quotas[bin_] = min(sizes[bin_], (count - sum(quotas)) // (len(sizes) - served))
    return quotas


def sample_bins(
    members: Sequence[Int64[Tensor, " _"]], count: int, generator: torch.Generator
) -> Int64[Tensor, " count"]:
    """Draw each bin's quota uniformly without replacement."""
    drawn = []
    for items, quota in zip(members, water_fill(_sizes(members), count), strict=True):
        order = torch.randperm(len(items), generator=generator, device=generator.device)
        drawn.append(items[order[:quota].cpu()])
    return torch.cat(drawn)


def bins_probability(
    members: Sequence[Int64[Tensor, " _"]], count: int
) -> Float64[Tensor, " items"]:
    """Return quota / size of the bin of each item."""
    sizes = _sizes(members)
    probability = torch.empty(sum(sizes), dtype=torch.float64)
    for items, quota in zip(members, water_fill(sizes, count), strict=True):
        if len(items):
            probability[items] = quota / len(items)
    return probability


def _sizes(members: Sequence[Tensor]) -> list[int]:
    return [len(items) for items in members]
