"""Both passes of an estimate, which makes a few calls in the place of many alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sgs.engine import MicroBatch, TwoPasses
from sgs.features import FeatureBuffer
from sgs.rehearsal import BACKWARD, FORWARD, Rehearsal, rehearsed
from sgs.subset import Subset


class AbridgedPasses(TwoPasses):
    """Both passes, with a few micro-batches of each size in the place of all."""

    rehearsal: Rehearsal
    _first_groups: Sequence[Tensor]

    def encode(self, groups: Sequence[Tensor]) -> FeatureBuffer:
        """Run a part of stage 1."""
        self._first_groups = groups
        return super().encode(self._abridge(FORWARD, groups, len))

    def _groups(self, subset: Subset) -> list[MicroBatch]:
        groups = super()._groups(subset)
        if not self._repeat_whole:
            return self._abridge(BACKWARD, groups, lambda group: len(group.index))
        sampled = torch.zeros(self.call.num_items, dtype=torch.bool, device="cpu")
        sampled[subset.positions] = True
        sizes = [len(index) for index in self._first_groups if sampled[index].any()]
        self.rehearsal.announce(BACKWARD, sizes=sizes, made=[len(g.index) for g in groups])
        return groups

    def _abridge(self, name: str, groups: Sequence[Any], size: Callable[[Any], int]) -> list[Any]:
        sizes = [size(group) for group in groups]
        made = rehearsed(sizes)
        self.rehearsal.announce(name, sizes=sizes, made=[sizes[i] for i in made])
        return [groups[i] for i in made]
