"""Importance sampling by the feature gradients."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from samplers._finite import finite_rows, listed
from samplers._proportional import ONE, draw_systematically, proportional_parts
from samplers.base import AbstractSampler
from samplers.candidates import Candidates


@dataclass(frozen=True)
class GradientNorm(AbstractSampler):
    """Choose an item with a probability proportional to the norm of its feature gradient.

    An item whose share would exceed 1 is always chosen, and the others share the rest. The draw is
    systematic in the order of the items, so the sample is spread along time. With inverse
    probability weights the encoder's gradient is unbiased. Its error is small if an item's feature
    gradient and its share of the encoder's gradient have proportional norms. Items with a zero
    gradient are chosen only to complete the count.

    Not in the paper, whose strategies choose before the loss is known.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"gradient_norm"})

    @property
    def has_inclusion_probability(self) -> bool:
        """Always."""
        return True

    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        return draw_systematically(self._parts(candidates, count), generator)

    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        return self._parts(candidates, count).double() / ONE

    def _parts(self, candidates: Candidates, count: int) -> Int64[Tensor, " items"]:
        assert candidates.gradient_norm is not None  # `requires` has been checked
        # A loop of small steps over few numbers runs fastest on the CPU.
        norms = finite_rows(self, "gradient_norm", candidates.gradient_norm.cpu()[:, None])[:, 0]
        negative = norms < 0
        if negative.any():
            raise ValueError(
                f"{self!r}: expected gradient_norm >= 0, got {float(norms[negative][0]):g} (for "
                f"example) in {listed(negative)}. Pass norms."
            )
        return proportional_parts(norms, count)
