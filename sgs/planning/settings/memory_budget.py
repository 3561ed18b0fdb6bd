"""`MemoryBudget`: sizes planned at the first call, and corrected by the peak of the steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from sgs.items.arguments import CallArguments
from sgs.planning.byte_size import bytes_of
from sgs.planning.estimate.estimate import estimate
from sgs.planning.estimate.fake_arguments import MetaArguments
from sgs.planning.settings.result import Plan
from sgs.planning.settings.search import Search
from sgs.sampler import SequentialGradientSampler
from sgs.sizes import AbstractBudget, Sizes

# The fraction reserved for what an estimate does not count, until a peak is observed.
MARGIN = 0.1


@dataclass(frozen=True)
class MemoryBudget(AbstractBudget):
    """The memory that a training step may take, instead of a micro-batch size.

    The first step has the sizes of `plan` without kept graphs, because neither the head nor the
    optimizer is known yet. Later steps keep as many graphs as fit. On CUDA the peak of the
    allocator, which includes head and optimizer, corrects the estimate after every step, and the
    sizes follow it. Other devices do not count allocations, and the estimate stands. The sizes
    never depend on the clock, so neither do dropout masks.

    Args:
        memory: The memory of the device that a step may take, in bytes or as in "8GiB".

    Raises:
        ValueError: If `memory` is no amount of memory.

    Example:
        >>> encoder = torch.nn.Linear(100, 10)
        >>> sampler = SequentialGradientSampler(encoder, micro_batch_size=MemoryBudget("1MiB"))
        >>> sampler(torch.randn(80, 100)).sum().backward()
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
            ValueError: If not even micro-batches of one item fit, or `estimate` raises it.
            TypeError: If parameters are sharded, or `estimate` raises it.
            RuntimeError: If `estimate` raises it.
        """
        key, before = _key_of(items, sampler), sampler.sizes
        observed = ObservedMemory(bytes_of(self.memory))
        if isinstance(before, BudgetPlan) and before.observed.budget == observed.budget:
            observed = before.observed
            if before.key == key and before.search.smallest.num_items >= items.num_items:
                # Only a backward tells what a step takes; evaluation keeps the sizes.
                has_run = sampler.history.num_backwards > before.num_backwards
                if not has_run or not torch.is_grad_enabled():
                    return before
                return before.corrected(_peak_bytes(items), sampler.history.num_backwards)
        step = partial(estimate, items=MetaArguments.of(args, kwargs), autocast=_autocast_of(items))
        search = Search.within(self.memory, sampler, step, margin=MARGIN)
        search.limit = min(search.limit, observed.budget - observed.not_estimated)
        size = search.largest_size()
        sizes = size, search.largest_forward_size(size), 0
        num_backwards = sampler.history.num_backwards
        return BudgetPlan(*sizes, search(*sizes), search, key, observed, num_backwards, True)


@dataclass(frozen=True)
class ObservedMemory:
    """The memory that the steps so far have taken.

    Attributes:
        budget: The bytes of the budget.
        peak: The most bytes that were allocated.
        not_estimated: The bytes by which that exceeds the estimate of the step.
    """

    budget: int
    peak: int = 0
    not_estimated: int = 0


@dataclass(frozen=True)
class BudgetPlan(Plan):
    """The sizes that a budget has chosen.

    Attributes:
        search: Estimates steps with other sizes.
        key: The properties of the calls that it is valid for, besides the number of items.
        observed: The memory observed before these sizes were chosen.
        num_backwards: How many backward passes had ended when they were chosen.
        is_first: Whether they are the first ones of this search.
    """

    search: Search
    key: tuple[Any, ...]
    observed: ObservedMemory
    num_backwards: int
    is_first: bool

    def corrected(self, peak: int, num_backwards: int) -> BudgetPlan:
        """Return the sizes of the next step, after one with these.

        Args:
            peak: The most bytes that were allocated so far; 0 if the device does not count them.
            num_backwards: How many backward passes have ended.
        """
        observed = self.observed
        if peak > observed.peak:
            not_estimated = peak - self.estimate.peak_bytes
            observed = replace(observed, peak=peak, not_estimated=not_estimated)
            self.search.limit = observed.budget - not_estimated
        elif not self.is_first:
            return self
        size = self.search.largest_size()
        plan = self.search.most_kept(size, self.search.largest_forward_size(size))
        return replace(
            self, **vars(plan), observed=observed, num_backwards=num_backwards, is_first=False
        )


def _key_of(call: CallArguments, sampler: SequentialGradientSampler) -> tuple[Any, ...]:
    """Return what a plan depends on, besides the number of items."""
    shapes = tuple(x.shape[len(call.lead_shape) :] for x in call.item_tensors)
    num_trained = sum(p.numel() for p in sampler.parameters() if p.requires_grad)
    sampling = sampler.ratio, sampler.sampler.requires, sampler.item_dim
    return shapes, tuple(map(type, call.sources)), _autocast_of(call), num_trained, sampling


def _autocast_of(call: CallArguments) -> torch.dtype | None:
    device = call.device_type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _peak_bytes(call: CallArguments) -> int:
    """Return the most bytes that were allocated so far; 0 if the device does not count them."""
    return torch.cuda.max_memory_allocated() if call.device_type == "cuda" else 0
