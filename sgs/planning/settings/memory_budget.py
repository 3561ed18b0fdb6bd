"""`memory_budget`: sizes that are predicted first, and corrected by what the first steps show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from sgs.distributed import has_shards
from sgs.items.arguments import ItemCall
from sgs.planning.byte_size import bytes_of
from sgs.planning.estimate.estimation import estimate
from sgs.planning.estimate.fake_arguments import Given
from sgs.planning.settings.search import Search
from sgs.planning.settings.trials import Trials
from sgs.sampler import SequentialGradientSampler

# Left for what an estimate does not see, as far as that cannot be observed.
MARGIN = 0.1


class MemoryBudget:
    """Chooses the sizes of a sampler, from one training step to the next.

    The first step runs with the sizes that `plan` finds, and without kept graphs, since neither the
    head nor the optimizer is known yet. The next steps each try another micro-batch size and are
    timed. Then the fastest is taken, and graphs are kept as far as there is room. On CUDA the peak
    that the allocator saw, with head and optimizer, takes the place of the predicted one, after
    every step; on other devices nothing can be observed, and the prediction stands.

    Args:
        budget: The memory of the device that a step may take, in bytes or as in "8GiB".
    """

    def __init__(self, budget: int | str) -> None:
        self.budget = budget
        self._total = bytes_of(budget)
        self._kind: CallKind | None = None
        self._trials: Trials | None = None
        self._peak = self._unseen = 0

    def __repr__(self) -> str:
        return repr(self.budget)

    def settle(
        self,
        sampler: SequentialGradientSampler,
        call: ItemCall,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Set the sizes of a sampler for the call that comes next.

        Raises:
            ValueError: If not even micro-batches of one item fit, or as `estimate`.
            TypeError: If parameters are sharded, or as `estimate`.
            RuntimeError: Likewise.
        """
        kind = CallKind.of(call, sampler)
        if self._trials is None or self._kind is None or not self._kind.covers(kind):
            _refuse_shards(sampler)
            step = partial(estimate, items=Given.of(args, kwargs), autocast=kind.autocast)
            search = Search.within(self.budget, sampler, step, margin=MARGIN)
            search.limit = min(search.limit, self._total - self._unseen)
            self._kind, self._trials = kind, Trials(search)
        peak = _peak_bytes(call)
        if peak > self._peak and self._trials.have_begun:
            self._peak = peak
            self._unseen = peak - self._trials.plan.estimate.peak_bytes
            self._trials.correct(self._total - self._unseen)
        # In evaluation nothing is learned from another size.
        if torch.is_grad_enabled():
            self._trials.advance()
        self._trials.plan.apply(sampler)

    @contextmanager
    def timed(self, stage: str, size: int, num_items: int) -> Iterator[None]:
        """Time one of both passes inside, while sizes are tried."""
        assert self._trials is not None
        with self._trials.timed(stage, size, num_items):
            yield


@dataclass(frozen=True)
class CallKind:
    """What a plan for a call depends on.

    Attributes:
        num_items: Of all videos.
        shapes: Of the items of each tensor.
        sources: The types of the sources.
        autocast: The precision of `torch.autocast`; None outside of it.
        num_trained: How many numbers of the encoder train.
    """

    num_items: int
    shapes: tuple[torch.Size, ...]
    sources: tuple[type, ...]
    autocast: torch.dtype | None
    num_trained: int

    @staticmethod
    def of(call: ItemCall, sampler: SequentialGradientSampler) -> CallKind:
        """Return the kind of a sampler's call."""
        return CallKind(
            num_items=call.num_items,
            shapes=tuple(x.shape[len(call.lead_shape) :] for x in call.item_tensors),
            sources=tuple(map(type, call.sources)),
            autocast=_autocast_of(call),
            num_trained=sum(p.numel() for p in sampler.parameters() if p.requires_grad),
        )

    def covers(self, other: CallKind) -> bool:
        """Tell whether a plan for this is good for another: as many items at most, alike."""
        is_alike = replace(self, num_items=other.num_items) == other
        return is_alike and self.num_items >= other.num_items


def _refuse_shards(sampler: SequentialGradientSampler) -> None:
    if has_shards(sampler):
        raise TypeError(
            "SequentialGradientSampler(memory_budget=...): the parameters are sharded, and how much"
            " of them a process holds changes in a step, which is not predicted. Choose the sizes "
            "by sgs.plan before fully_shard(), and pass them instead."
        )


def _autocast_of(call: ItemCall) -> torch.dtype | None:
    kind = call.device_type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def _peak_bytes(call: ItemCall) -> int:
    """Return the most bytes that were allocated so far; 0 where nobody counts."""
    return torch.cuda.max_memory_allocated() if call.device_type == "cuda" else 0
