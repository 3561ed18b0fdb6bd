"""`plan`: the settings that make the most of a budget of memory."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from samplers import count_from_ratio
from sgs.module import SequentialGradientSampler
from sgs.planning.byte_size import bytes_of, readable_bytes
from sgs.planning.estimated_step import Estimate
from sgs.planning.estimation import estimate
from sgs.planning.training_step import MakeOptimizer

# Operations of a call below which a GPU waits for its next kernel rather than computes.
BUSY_FLOPS = 2e11
LARGEST = 64
# How many graphs are kept where their growth is looked at; few first, since each is computed.
PROBED = (2, 8, 32, 128)


@dataclass(frozen=True)
class Plan:
    """Settings of `SequentialGradientSampler`, and what a step takes with them.

    Attributes:
        micro_batch_size: Items per call that keeps a graph.
        forward_micro_batch_size: Items per call of the first pass that keeps none.
        kept_graphs: Micro-batches that keep their graph in the first pass.
        estimate: The memory and the operations of a training step.
    """

    micro_batch_size: int
    forward_micro_batch_size: int
    kept_graphs: int
    estimate: Estimate

    def __str__(self) -> str:
        """Show the settings and the estimate."""
        return (
            f"micro_batch_size={self.micro_batch_size}, "
            f"forward_micro_batch_size={self.forward_micro_batch_size}, "
            f"kept_graphs={self.kept_graphs}\n{self.estimate}"
        )

    def apply(self, sampler: SequentialGradientSampler) -> None:
        """Let a sampler train with these settings."""
        sampler.micro_batch_size = self.micro_batch_size
        sampler.forward_micro_batch_size = self.forward_micro_batch_size
        sampler.kept_graphs = self.kept_graphs


def plan(
    sampler: SequentialGradientSampler,
    items: Any,
    budget: int | str,
    *,
    margin: float = 0.1,
    head: Callable[[Any], Tensor] | None = None,
    optimizer: MakeOptimizer | None = None,
    items_on_device: bool = True,
    autocast: torch.dtype | None = None,
) -> Plan:
    """Choose both micro-batch sizes and the number of kept graphs for a budget, without running.

    Micro-batches are made as large as keeps a GPU busy, where they fit; those of the first pass
    larger, where that is free; then graphs are kept as long as there is room, for each saves a
    forward pass of its items. The sizes of `sampler` do not matter, its other options do.

    Args:
        sampler: As of `estimate`.
        items: Likewise.
        budget: The memory of the device, in bytes or as in "8GiB".
        margin: The fraction of it that is left for what an estimate does not see, in [0, 1).
        head: As of `estimate`.
        optimizer: Likewise.
        items_on_device: Likewise.
        autocast: Likewise.

    Raises:
        TypeError: As `estimate`.
        ValueError: If not even micro-batches of one item fit, or as `estimate`.
        RuntimeError: As `estimate`.

    Example:
        >>> encoder = torch.nn.Sequential(torch.nn.Linear(1000, 1000), torch.nn.ReLU())
        >>> sampler = SequentialGradientSampler(encoder, micro_batch_size=1)
        >>> found = plan(sampler, torch.empty(100, 1000, device="meta"), "20MiB")
        >>> found.micro_batch_size, found.kept_graphs, found.estimate.fits("20MiB")
        (64, 2, True)
    """
    step = partial(
        estimate,
        items=items,
        head=head,
        optimizer=optimizer,
        items_on_device=items_on_device,
        autocast=autocast,
    )
    search = Search(sampler, step, limit=int((1 - margin) * bytes_of(budget)))
    search.refuse_too_little(budget)
    size = search.largest_size()
    forward_size = search.largest_forward_size(size)
    kept, found = search.most_kept(size, forward_size)
    return Plan(size, forward_size, kept, found)


@dataclass
class Search:
    """Estimates of one sampler with several sizes, each made once.

    Attributes:
        sampler: The options.
        step: Estimates a step of a sampler.
        limit: The bytes that a step may take.
    """

    sampler: SequentialGradientSampler
    step: Callable[[SequentialGradientSampler], Estimate]
    limit: int
    _known: dict[tuple[int, int, int], Estimate] = field(default_factory=dict)

    def __call__(self, size: int, forward_size: int, kept: int) -> Estimate:
        """Estimate a step with other sizes."""
        key = size, forward_size, kept
        if key not in self._known:
            sized = copy.copy(self.sampler)
            sized.micro_batch_size, sized.forward_micro_batch_size, sized.kept_graphs = key
            self._known[key] = self.step(sized)
        return self._known[key]

    def fits(self, found: Estimate) -> bool:
        """Tell whether a step stays within the limit."""
        return found.peak_bytes <= self.limit

    @cached_property
    def smallest(self) -> Estimate:
        """The estimate with one item at a time."""
        return self(1, 1, 0)

    @cached_property
    def num_sampled(self) -> int:
        """Items that are encoded again."""
        return count_from_ratio(self.sampler.ratio, max(self.smallest.num_items, 1))

    @property
    def is_guided(self) -> bool:
        """Whether the subset is known only after the first pass."""
        return self.sampler.ratio < 1 and "features" in self.sampler.sampler.requires

    def refuse_too_little(self, budget: int | str) -> None:
        """Refuse a budget that one item at a time exceeds.

        Raises:
            ValueError: If it does.
        """
        if not self.fits(self.smallest):
            raise ValueError(
                f"plan(budget={budget!r}): a step takes {readable_bytes(self.smallest.peak_bytes)} "
                f"with one item at a time, more than the {readable_bytes(self.limit)} that the "
                "budget leaves beside its margin. Raise it, keep items in host memory, freeze a "
                f"stem, or take a smaller head or optimizer.\n{self.smallest}"
            )

    def largest_size(self) -> int:
        """Return the items per call that keep a GPU busy, or as many of them as fit."""
        flops = self.smallest.flops["forward"] / max(self.smallest.num_items, 1)
        wanted = min(BUSY_FLOPS / max(flops, 1), LARGEST, self.num_sampled)
        size = 1 << max(math.ceil(math.log2(wanted)), 0)
        while size > 1 and not self.fits(self(size, size, 0)):
            size //= 2
        return size

    def largest_forward_size(self, size: int) -> int:
        """Return how many items the first pass may take at once at no cost in memory."""
        if self.is_guided:
            # Such micro-batches may have to be repeated whole.
            return size
        least, found = self(size, size, 0).peak_bytes, size
        most = min(4 * LARGEST, self.smallest.num_items)
        while 2 * found <= most and self(size, 2 * found, 0).peak_bytes <= least:
            found *= 2
        return found

    def most_kept(self, size: int, forward_size: int) -> tuple[int, Estimate]:
        """Return how many graphs fit, and the estimate with them.

        The peak is constant while something else takes more than the graphs, then grows by the same
        for each.
        """
        most = 0 if self.is_guided else math.ceil(self.num_sampled / size)
        known = 0
        for kept in PROBED:
            if kept >= most or not self.fits(self(size, forward_size, kept)):
                break
            known = kept
            growth = self._growth(size, forward_size, kept)
            if growth > 0:
                room = self.limit - self(size, forward_size, kept).peak_bytes
                fitting = int(min(most, kept + room // growth))
                return self._extrapolated(size, forward_size, known=kept, kept=fitting)
        while known < most and self.fits(self(size, forward_size, known + 1)):
            known += 1
        return known, self(size, forward_size, known)

    def _growth(self, size: int, forward_size: int, kept: int) -> int:
        peaks = [self(size, forward_size, kept + i).peak_bytes for i in range(2)]
        return peaks[1] - peaks[0]

    def _extrapolated(
        self, size: int, forward_size: int, *, known: int, kept: int
    ) -> tuple[int, Estimate]:
        first, second = (self(size, forward_size, known + i) for i in range(2))
        more = kept - known

        def extended(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
            return {name: size + more * (after[name] - size) for name, size in before.items()}

        taken = extended(first.bytes_by_category, second.bytes_by_category)
        return kept, replace(
            first, bytes_by_category=taken, flops=extended(first.flops, second.flops)
        )
