"""The search for settings within a limit of memory, by estimates."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

from samplers import count_from_ratio
from sgs.planning.byte_size import bytes_of, readable_bytes
from sgs.planning.estimate.result import Estimate
from sgs.planning.settings.result import Plan
from sgs.sampler import SequentialGradientSampler

# Operations of a call below which a GPU waits for its next kernel rather than computes.
BUSY_FLOPS = 2e11
LARGEST = 64
# How many graphs are kept where their growth is looked at; few first, since each is computed.
PROBED = (2, 8, 32, 128)


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

    @classmethod
    def within(
        cls,
        budget: int | str,
        sampler: SequentialGradientSampler,
        step: Callable[[SequentialGradientSampler], Estimate],
        *,
        margin: float,
    ) -> Search:
        """Return the search for what a budget allows.

        Args:
            budget: As of `plan`.
            sampler: The options.
            step: Estimates a step of a sampler.
            margin: As of `plan`.

        Raises:
            ValueError: If one item at a time exceeds the budget.
        """
        search = cls(sampler, step, limit=int((1 - margin) * bytes_of(budget)))
        least = search.smallest
        if not search.fits(least):
            raise ValueError(
                f"plan(budget={budget!r}): a step takes {readable_bytes(least.peak_bytes)} with one"
                f" item at a time, more than the {readable_bytes(search.limit)} that the budget "
                "leaves beside its margin. Raise it, keep items in host memory, freeze a stem, or "
                f"take a smaller head or optimizer.\n{least}"
            )
        return search

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
        return self.sampler.ratio < 1 and bool(self.sampler.sampler.requires)

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

    def without_graphs(self, size: int, forward_size: int) -> Plan:
        """Return the plan that keeps none."""
        return Plan(size, forward_size, 0, self(size, forward_size, 0))

    def most_kept(self, size: int, forward_size: int) -> Plan:
        """Return the plan with as many graphs as fit.

        The peak is constant while something else takes more than the graphs, then grows by the same
        for each.
        """
        most = 0 if self.is_guided else math.ceil(self.num_sampled / size)
        known = 0
        for kept in PROBED:
            if kept >= most or not self.fits(self(size, forward_size, kept)):
                break
            known = kept
            found, more = (self(size, forward_size, kept + i) for i in range(2))
            growth = more.peak_bytes - found.peak_bytes
            if growth > 0:
                fitting = int(min(most, kept + (self.limit - found.peak_bytes) // growth))
                found = _extrapolated(found, more, times=fitting - kept)
                return Plan(size, forward_size, fitting, found)
        while known < most and self.fits(self(size, forward_size, known + 1)):
            known += 1
        return Plan(size, forward_size, known, self(size, forward_size, known))


def _extrapolated(first: Estimate, second: Estimate, *, times: int) -> Estimate:
    """Return the first estimate with so many times what the second one has more."""

    def extended(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
        return {name: size + times * (after[name] - size) for name, size in before.items()}

    return replace(
        first,
        bytes_by_category=extended(first.bytes_by_category, second.bytes_by_category),
        flops=extended(first.flops, second.flops),
    )
