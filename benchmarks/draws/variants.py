"""Strategies that were tried for the gradient of an encoder and left out of `samplers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from samplers import AbstractSampler, Candidates, GradientNorm


@dataclass(frozen=True)
class Stratified(AbstractSampler):
    """Choose one item of each of `count` successive runs, which differ by at most one in length."""

    @property
    def has_inclusion_probability(self) -> bool:
        return True

    def _sample(self, candidates: Candidates, count: int, generator: torch.Generator) -> Tensor:
        start, size = _runs(candidates.num_items, count)
        place = torch.rand(count, generator=generator, dtype=torch.float64)
        return start + (place * size).long()

    def _inclusion_probability(self, candidates: Candidates, count: int) -> Tensor:
        _, size = _runs(candidates.num_items, count)
        return (1 / size.double()).repeat_interleave(size)


@dataclass(frozen=True)
class PivotalNorm(AbstractSampler):
    """Choose with the probabilities of `GradientNorm`, by the ordered pivotal method.

    Two items duel: probability passes from one to the other until one of them has 0 or 1 and is out
    or in (Deville and Tillé 1998). The other one meets the next item in order. The sample is thus
    spread along time, as in a systematic draw, but with more randomness.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"gradient_norm"})

    @property
    def has_inclusion_probability(self) -> bool:
        return True

    def _sample(self, candidates: Candidates, count: int, generator: torch.Generator) -> Tensor:
        probability = self._inclusion_probability(candidates, count)
        uniform = torch.rand(len(probability), generator=generator, dtype=torch.float64)
        return torch.tensor(_pivotal(probability.tolist(), uniform.tolist(), count=count))

    def _inclusion_probability(self, candidates: Candidates, count: int) -> Tensor:
        return GradientNorm().inclusion_probability(candidates, count)


def _runs(num_items: int, count: int) -> tuple[Tensor, Tensor]:
    """Return first item and length of each run."""
    bounds = torch.arange(count + 1) * num_items // count
    return bounds[:-1], bounds.diff()


def _pivotal(probability: Sequence[float], uniform: Sequence[float], *, count: int) -> list[int]:
    chosen: list[int] = []
    holder, held = 0, probability[0]
    for item in range(1, len(probability)):
        other = probability[item]
        if held + other < 1:
            # One of the two is out.
            stays = uniform[item] * (held + other) < held
            holder, held = (holder if stays else item), held + other
            continue
        # One of the two is in.
        rest = held + other - 1
        is_holder = uniform[item] * (2 - held - other) < 1 - other
        chosen.append(holder if is_holder else item)
        holder, held = (item if is_holder else holder), rest
    # The last item holds 0 or 1, up to rounding.
    return [*chosen, holder][:count]
