"""Sampling balanced over labels (paper section 3.5, label-guided)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from samplers._strata import bins, bins_probability, sample_bins
from samplers.base import AbstractSampler
from samplers.candidates import Candidates


@dataclass(frozen=True)
class IoUBalanced(AbstractSampler):
    """Choose equally many items of low, medium and high tIoU with the ground truth.

    The bins are [0, 0.3), [0.3, 0.7) and [0.7, 1]. A bin with too few items gives all of them and
    the others give the difference, so the count is exact. The remainder of the division by three
    goes to the bin with the most items, and among equal bins to the higher. Every item of a bin has
    probability quota / size; it is 0 if the bin gets no quota (`count` below 3).
    """

    requires: ClassVar[frozenset[str]] = frozenset({"tiou"})

    @property
    def has_inclusion_probability(self) -> bool:
        """Always."""
        return True

    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        return sample_bins(self._bins(candidates), count, generator)

    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        return bins_probability(self._bins(candidates), count)

    def _bins(self, candidates: Candidates) -> list[Int64[Tensor, " _"]]:
        assert candidates.tiou is not None  # `requires` has been checked
        return bins(self, "tiou", candidates.tiou)


@dataclass(frozen=True)
class ScaleBalanced(AbstractSampler):
    """Choose equally many short, medium and long items.

    As `IoUBalanced`, with bins of the scale: the duration of an item over that of the video.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"scale"})

    @property
    def has_inclusion_probability(self) -> bool:
        """Always."""
        return True

    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        return sample_bins(self._bins(candidates), count, generator)

    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        return bins_probability(self._bins(candidates), count)

    def _bins(self, candidates: Candidates) -> list[Int64[Tensor, " _"]]:
        assert candidates.scale is not None  # `requires` has been checked
        return bins(self, "scale", candidates.scale)
