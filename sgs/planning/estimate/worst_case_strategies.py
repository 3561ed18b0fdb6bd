"""Strategies that pick the subset which takes the most memory and operations."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from samplers import AbstractSampler, Candidates, Random


@dataclass(frozen=True)
class FirstItems(AbstractSampler):
    """The worst case of a strategy that does not look at features.

    Micro-batches that keep their graph come first, so that all other calls run beside their graphs.
    In a real step some may come later, and the step takes less.
    """

    @property
    def has_inclusion_probability(self) -> bool:
        """Always."""
        return True

    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        return torch.arange(count)

    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        return Random().inclusion_probability(candidates, count)


@dataclass(frozen=True)
class SpreadOut(AbstractSampler):
    """The worst case of a strategy that looks at features.

    A stochastic encoder must repeat whole micro-batches of the first pass. This subset is spread
    over as many of them as possible.

    Args:
        micro_batch_size: Items per call of the first pass.
    """

    micro_batch_size: int
    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    @property
    def has_inclusion_probability(self) -> bool:
        """Always."""
        return True

    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        position = torch.arange(candidates.num_items)
        order = (position % self.micro_batch_size).sort(stable=True).indices
        return order[:count]

    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        return Random().inclusion_probability(candidates, count)
