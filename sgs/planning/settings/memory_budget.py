"""`MemoryBudget`: sizes that are predicted first, and corrected by the peak of the steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from sgs.distributed import has_shards
from sgs.items.arguments import CallArguments
from sgs.planning.byte_size import bytes_of
from sgs.planning.estimate.estimate import estimate
from sgs.planning.estimate.fake_arguments import Given
from sgs.planning.estimate.result import Estimate
from sgs.planning.settings.result import Plan
from sgs.planning.settings.search import Search
from sgs.sampler import SequentialGradientSampler
from sgs.sizes import AbstractBudget, Sizes

# Left for what an estimate does not see, as far as that cannot be observed.
MARGIN = 0.1


@dataclass(frozen=True)
class MemoryBudget(AbstractBudget):
    """The memory that a training step may take, in the place of a micro-batch size.

    The first step runs with the sizes that `plan` finds, and without kept graphs, since neither the
    head nor the optimizer is known yet. The next ones keep as many graphs as fit. On CUDA the peak
    of the allocator, with head and optimizer, replaces the predicted one after every step, and the
    sizes follow it; on other devices nothing can be observed, and the prediction stands. Sizes do
    not depend on the time that steps take, so that dropout masks do not either.

    Args:
        memory: The memory of the device that a step may take, in bytes or as in "8GiB".

    Raises:
        ValueError: If `memory` is no amount of memory.

    Example:
        >>> encoder = torch.nn.Linear(100, 10)
        >>> sampler = SequentialGradientSampler(encoder, micro_batch_size=MemoryBudget("1MiB"))
        >>> sampler(torch.randn(500, 100)).sum().backward()
        >>> sampler.sizes.micro_batch_size
        64
    """

    memory: int | str

    def __post_init__(self) -> None:
        bytes_of(self.memory)

    def sizes_of(
        self,
        sampler: SequentialGradientSampler,
        items: CallArguments,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Sizes:
        """Return the sizes of the next call of a sampler.

        Raises:
            ValueError: If not even micro-batches of one item fit, or as `estimate`.
            TypeError: If parameters are sharded, or as `estimate`.
            RuntimeError: As `estimate`.
        """
        kind, total = CallKind.of(items, sampler), bytes_of(self.memory)
        before = sampler.sizes if isinstance(sampler.sizes, Chosen) else None
        if before is not None and before.seen.total != total:
            before = None
        if before is not None and before.kind.covers(kind):
            # In evaluation nothing is learned about a training step.
            return before.corrected(_peak_bytes(items)) if torch.is_grad_enabled() else before
        _refuse_shards(sampler)
        step = partial(estimate, items=Given.of(args, kwargs), autocast=kind.autocast)
        search = Search.within(self.memory, sampler, step, margin=MARGIN)
        seen = Seen(total) if before is None else before.seen
        search.limit = min(search.limit, seen.limit)
        # Without kept graphs at first.
        size = search.largest_size()
        plan = search.without_graphs(size, search.largest_forward_size(size))
        return Chosen(*_fields(plan), search, kind, seen, is_first=True)


@dataclass(frozen=True)
class Seen:
    """What the steps so far have shown of the memory.

    Attributes:
        total: The bytes of the budget.
        peak: The most bytes that were allocated.
        unseen: The bytes of that beyond the estimate of the step.
    """

    total: int
    peak: int = 0
    unseen: int = 0

    @property
    def limit(self) -> int:
        """The bytes that an estimate may take."""
        return self.total - self.unseen


@dataclass(frozen=True)
class Chosen(Plan):
    """The sizes that a budget chose.

    Attributes:
        search: Estimates steps with other sizes.
        kind: The calls that the sizes are good for.
        seen: What was seen before they were chosen.
        is_first: Whether no step was made with this search.
    """

    search: Search
    kind: CallKind
    seen: Seen
    is_first: bool

    def corrected(self, peak: int) -> Chosen:
        """Return the sizes of the next step, after one with these.

        Args:
            peak: The most bytes that were allocated so far; 0 where nobody counts.
        """
        seen = self.seen
        if peak > seen.peak:
            seen = replace(seen, peak=peak, unseen=peak - self.estimate.peak_bytes)
            self.search.limit = seen.limit
        elif not self.is_first:
            return self
        size = self.search.largest_size()
        plan = self.search.most_kept(size, self.search.largest_forward_size(size))
        return Chosen(*_fields(plan), self.search, self.kind, seen, is_first=False)


def _fields(plan: Plan) -> tuple[int, int, int, Estimate]:
    sizes = plan.micro_batch_size, plan.forward_micro_batch_size, plan.kept_graphs
    return (*sizes, plan.estimate)


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
    def of(call: CallArguments, sampler: SequentialGradientSampler) -> CallKind:
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
            "SequentialGradientSampler(micro_batch_size=MemoryBudget(...)): the parameters are "
            "sharded, and how much of them a process holds changes in a step, which is not "
            "predicted. Choose the sizes by sgs.plan before fully_shard(), and pass them instead."
        )


def _autocast_of(call: CallArguments) -> torch.dtype | None:
    kind = call.device_type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def _peak_bytes(call: CallArguments) -> int:
    """Return the most bytes that were allocated so far; 0 where nobody counts."""
    return torch.cuda.max_memory_allocated() if call.device_type == "cuda" else 0
