"""Stratified sampling: the same number of items from every bin of a value in [0, 1]."""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from samplers.base import AbstractSampler

# Bins [0, 0.3), [0.3, 0.7) and [0.7, 1] of the paper.
_EDGES = (0.3, 0.7)
_NUM_BINS = len(_EDGES) + 1
# How far from [0, 1] the rounding of a float32 quotient may lead.
_ROUNDING = 1e-5


def bins(
    sampler: AbstractSampler, name: str, values: Float[Tensor, " items"]
) -> Int64[Tensor, " items"]:
    """Return the bin of each item, on the CPU.

    The edges are compared in the type of the values: 0.7 in float32 is in the last bin.

    Raises:
        ValueError: If a value is outside [0, 1].
    """
    values = values.cpu()
    # The negation also catches NaN.
    bad = (~((values >= -_ROUNDING) & (values <= 1 + _ROUNDING))).nonzero()
    if len(bad):
        raise ValueError(
            f"{sampler!r}: expected {name} in [0, 1], got {values[bad[0]].item()!r} at position "
            f"{int(bad[0])}. Pass a fraction; items without ground truth have tiou 0."
        )
    return torch.bucketize(values, torch.tensor(_EDGES, dtype=values.dtype), right=True)


def water_fill(sizes: list[int], count: int) -> list[int]:
    """Share `count` items equally among bins of the given sizes.

    A bin that is too small gives all it has, and the others share what it lacks. What does not
    divide goes to the largest bins, of equal ones to the last.
    """
    quotas = [0] * len(sizes)
    # From the smallest bin on, an equal share of the rest is either all it has or what every
    # later bin gets at least; the division rounds down, which moves remainders to later bins.
    smallest_first = sorted(range(len(sizes)), key=lambda bin_: (sizes[bin_], bin_))
    for served, bin_ in enumerate(smallest_first):
        quotas[bin_] = min(sizes[bin_], (count - sum(quotas)) // (len(sizes) - served))
    return quotas


def sample_bins(
    item_bins: Int64[Tensor, " items"], count: int, generator: torch.Generator
) -> Int64[Tensor, " count"]:
    """Draw each bin's quota uniformly without replacement."""
    quotas = water_fill(_sizes(item_bins), count)
    order = torch.randperm(len(item_bins), generator=generator, device=generator.device).cpu()
    return torch.cat([order[item_bins[order] == bin_][:quota] for bin_, quota in enumerate(quotas)])


def bins_probability(item_bins: Int64[Tensor, " items"], count: int) -> Float64[Tensor, " items"]:
    """Return quota / size of the bin of each item."""
    sizes = _sizes(item_bins)
    quotas = torch.tensor(water_fill(sizes, count), dtype=torch.float64)
    return (quotas / torch.tensor(sizes, dtype=torch.float64))[item_bins]


def _sizes(item_bins: Int64[Tensor, " items"]) -> list[int]:
    sizes: list[int] = torch.bincount(item_bins, minlength=_NUM_BINS).tolist()
    return sizes
