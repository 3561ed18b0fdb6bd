"""`Search`: the best sizes within a memory limit, found by estimates."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

from samplers import count_from_ratio
from sgs.distributed import refuse_shards
from sgs.planning.byte_size import bytes_of, readable_bytes
from sgs.planning.estimate.result import Estimate
from sgs.planning.settings.result import Plan
from sgs.sampler import SequentialGradientSampler

# With fewer operations per call, a GPU spends its time on starting kernels.
BUSY_FLOPS = 2e11
LARGEST = 64
# Numbers of kept graphs at which the growth of memory is measured. An estimate runs each of them,
# so small numbers come first.
PROBED = (2, 8, 32, 128)


@dataclass
class Search:
    """Estimates a sampler's step with several sizes, each once, and chooses among them.

    Attributes:
        sampler: The options other than sizes.
        step: Estimates a step of a sampler.
        limit: The bytes that a step may take.
    """

    sampler: SequentialGradientSampler
    step: Callable[[SequentialGradientSampler], Estimate]
    limit: int
    _estimates: dict[tuple[int, int, int], Estimate] = field(default_factory=dict)

    @classmethod
    def within(
        cls,
        budget: int | str,
        sampler: SequentialGradientSampler,
        step: Callable[[SequentialGradientSampler], Estimate],
        *,
        margin: float,
    ) -> Search:
        """Return the search within a budget.

        Args:
            budget: The memory of the device, in bytes or as in "8GiB".
            sampler: The options other than sizes.
            step: Estimates a step of a sampler.
            margin: The fraction of the budget reserved for what an estimate does not count.

        Raises:
            TypeError: If parameters are sharded.
            ValueError: If micro-batches of one item exceed the budget.
        """
        # First: torch cannot copy what is sharded.
        refuse_shards(sampler)
        search = cls(sampler, step, limit=int((1 - margin) * bytes_of(budget)))
        least = search.smallest
        if not search.fits(least):
            raise ValueError(
                f"plan(budget={budget!r}): a step takes {readable_bytes(least.peak_bytes)} with "
                f"micro-batches of one item, more than the {readable_bytes(search.limit)} that the "
                "budget leaves after its margin. Raise the budget, keep items in host memory, "
                f"freeze a stem, or use a smaller head or optimizer.\n{least}"
            )
        return search

    def __call__(self, size: int, forward_size: int, kept: int) -> Estimate:
        """Estimate a step with other sizes."""
        key = size, forward_size, kept
        if key not in self._estimates:
            sized = copy.copy(self.sampler)
            sized.micro_batch_size, sized.forward_micro_batch_size, sized.kept_graphs = key
            self._estimates[key] = self.step(sized)
        return self._estimates[key]

    def fits(self, step: Estimate) -> bool:
        """Tell whether a step stays within the limit."""
        return step.peak_bytes <= self.limit

    @cached_property
    def smallest(self) -> Estimate:
        """The estimate with micro-batches of one item."""
        return self(1, 1, 0)

    @cached_property
    def num_sampled(self) -> int:
        """The number of items in the second pass."""
        return count_from_ratio(self.sampler.ratio, max(self.smallest.num_items, 1))

    @property
    def looks_at_features(self) -> bool:
        """Whether the strategy needs the features of the first pass."""
        return self.sampler.ratio < 1 and bool(self.sampler.sampler.requires)

    def largest_size(self) -> int:
        """Return the items per call that keep a GPU busy, or fewer if they do not fit."""
        flops = self.smallest.flops["forward"] / max(self.smallest.num_items, 1)
        wanted = min(BUSY_FLOPS / max(flops, 1), LARGEST, self.num_sampled)
        size = 1 << max(math.ceil(math.log2(wanted)), 0)
        while size > 1 and not self.fits(self(size, size, 0)):
            size //= 2
        return size

    def largest_forward_size(self, size: int) -> int:
        """Return the most items per call of the first pass that need no more memory."""
        if self.looks_at_features:
            # The second pass of a stochastic encoder repeats whole micro-batches of the first.
            return size
        least, forward_size = self(size, size, 0).peak_bytes, size
        most = min(4 * LARGEST, self.smallest.num_items)
        while 2 * forward_size <= most and self(size, 2 * forward_size, 0).peak_bytes <= least:
            forward_size *= 2
        return forward_size

    def most_kept(self, size: int, forward_size: int) -> Plan:
        """Return the plan with as many kept graphs as fit.

        With few kept graphs something else determines the peak; beyond that each adds the same.
        """
        most = 0 if self.looks_at_features else math.ceil(self.num_sampled / size)
        fitting = 0
        for kept in PROBED:
            if kept >= most or not self.fits(self(size, forward_size, kept)):
                break
            fitting = kept
            before, after = (self(size, forward_size, kept + i) for i in range(2))
            growth = after.peak_bytes - before.peak_bytes
            if growth > 0:
                more = min(most - kept, (self.limit - before.peak_bytes) // growth)
                return Plan(
                    size, forward_size, kept + more, _extrapolated(before, after, times=more)
                )
        while fitting < most and self.fits(self(size, forward_size, fitting + 1)):
            fitting += 1
        return Plan(size, forward_size, fitting, self(size, forward_size, fitting))


def _extrapolated(first: Estimate, second: Estimate, *, times: int) -> Estimate:
    """Return the first estimate plus so many times its difference to the second."""

    def extended(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
        return {name: size + times * (after[name] - size) for name, size in before.items()}

    return replace(
        first,
        bytes_by_category=extended(first.bytes_by_category, second.bytes_by_category),
        flops=extended(first.flops, second.flops),
    )
