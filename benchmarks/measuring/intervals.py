"""95 % intervals of statistics over videos, by bootstrap."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

RESAMPLINGS = 2000


def mean(values: Float64[Tensor, "... videos"]) -> Tensor:
    return values.mean(dim=-1)


def ratio_of_means(values: Float64[Tensor, "... videos 2"]) -> Tensor:
    means = values.mean(dim=-2)
    return means[..., 0] / means[..., 1]


def with_interval(values: Sequence[Any], statistic: Callable[[Tensor], Tensor]) -> list[float]:
    """Return lower end, statistic of all videos, and upper end."""
    per_video = torch.tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(values), (RESAMPLINGS, len(values)), generator=generator)
    resampled = statistic(per_video[drawn])
    low, high = resampled.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return [low, float(statistic(per_video)), high]
