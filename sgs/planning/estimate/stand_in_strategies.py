"""What stands for a strategy where only the cost of its subset matters."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from samplers import AbstractSampler, Candidates, Random


@dataclass(frozen=True)
class FirstItems(AbstractSampler):
    """Stands for any strategy that looks at no features.

    The micro-batches that keep their graph come first: where they come late in a real step, fewer
    calls meet them, and the step takes less.
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
    """Stands for any strategy that looks at features: it costs the same, and looks at nothing.

    Where micro-batches are repeated whole, a subset costs the more of them the more it is spread
    out: this one meets as many as there can be.

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
