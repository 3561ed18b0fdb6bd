"""Uniform sampling (paper section 3.5, heuristic)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from samplers.base import AbstractSampler
from samplers.candidates import Candidates


@dataclass(frozen=True)
class Random(AbstractSampler):
    """Choose uniformly without replacement: every subset of `count` items is equally likely.

    The inclusion probability is `count / num_items` for every item.
    """

    @property
    def has_inclusion_probability(self) -> bool:
        """Always."""
        return True

    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        order = torch.randperm(candidates.num_items, generator=generator, device=generator.device)
        return order[:count]

    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        return torch.full(
            (candidates.num_items,), count / candidates.num_items, dtype=torch.float64
        )
