"""`memory_budget`: sizes that are predicted first, and corrected by what the first steps show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from sgs.engine import FIRST_PASS, SECOND_PASS
from sgs.items import ItemCall
from sgs.module import SequentialGradientSampler
from sgs.planning.arguments import Given
from sgs.planning.byte_size import bytes_of
from sgs.planning.estimation import estimate
from sgs.planning.plan import LARGEST, Plan, Search

# Left for what an estimate does not see, as far as that cannot be observed.
MARGIN = 0.1
# Another size must be faster by so much that noise does not choose it.
BETTER = 0.97


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
        self._search: Search | None = None
        self._planned: Any = None
        self._peak = self._predicted_peak = 0
        self._steps = 0
        self._seconds: dict[int, dict[str, float]] = {}
        self._is_settled = False

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
            TypeError: As `estimate`.
            RuntimeError: Likewise.
        """
        shape = _shape_of(call)
        if self._search is None or not _covers(self._planned, shape):
            self._predict(sampler, call, Given(args, kwargs))
            self._planned = shape
        self._correct(call)
        # In evaluation nothing is learned from another size.
        if self._is_settled or self._steps == 0 or not torch.is_grad_enabled():
            return
        size = self._next_size(sampler)
        if size is None:
            self._finish(sampler)
        else:
            self._apply(sampler, size, size)

    @contextmanager
    def timed(self, stage: str, size: int, num_items: int) -> Iterator[None]:
        """Time one of both passes inside, while sizes are tried."""
        is_trial = not self._is_settled and self._steps > 0
        started_s = _now_s() if is_trial else 0.0
        yield
        if is_trial:
            taken_s = (_now_s() - started_s) / max(num_items, 1)
            self._seconds.setdefault(size, {})[stage] = taken_s
        if stage == SECOND_PASS:
            self._steps += 1

    def _predict(self, sampler: SequentialGradientSampler, call: ItemCall, given: Given) -> None:
        step = partial(estimate, items=given, autocast=_autocast_of(call))
        self._search = Search(sampler, step, limit=int((1 - MARGIN) * self._total))
        self._search.refuse_too_little(self.budget)
        size = self._search.largest_size()
        self._apply(sampler, size, self._search.largest_forward_size(size))
        self._steps, self._is_settled, self._seconds = 0, False, {}

    def _correct(self, call: ItemCall) -> None:
        """Let the peak of the last step take the place of the predicted one."""
        assert self._search is not None
        peak = _peak_bytes(call)
        if peak > self._peak and self._steps > 0:
            self._peak = peak
            self._search.limit = self._total - (peak - self._predicted_peak)
            self._is_settled = False

    def _next_size(self, sampler: SequentialGradientSampler) -> int | None:
        """Return a size that was not tried and may be faster: downhill, then uphill."""
        assert self._search is not None
        if not self._seconds:
            return sampler.micro_batch_size
        tried = sorted(self._seconds)
        costs = {size: self._cost(size) for size in tried}
        best = min(costs, key=lambda size: costs[size])
        if best == tried[0] and best > 1 and self._fits(best // 2):
            return best // 2
        larger = 2 * best
        is_free = larger not in costs and larger <= min(LARGEST, self._search.num_sampled)
        return larger if is_free and best == tried[-1] and self._fits(larger) else None

    def _fits(self, size: int) -> bool:
        assert self._search is not None
        return self._search.fits(self._search(size, size, 0))

    def _cost(self, size: int) -> float:
        """Return the seconds per item of both passes; infinite if one was not seen."""
        assert self._search is not None
        seconds = self._seconds[size]
        if len(seconds) < 2:
            return float("inf")
        ratio = self._search.num_sampled / max(self._search.smallest.num_items, 1)
        return seconds[FIRST_PASS] + ratio * seconds[SECOND_PASS]

    def _finish(self, sampler: SequentialGradientSampler) -> None:
        search = self._search
        assert search is not None
        costs = {s: self._cost(s) for s in self._seconds if self._fits(s)}
        size = _fastest(costs) if costs else 1
        least = search(size, size, 0).peak_bytes
        free = {
            s: seconds[FIRST_PASS]
            for s, seconds in self._seconds.items()
            if FIRST_PASS in seconds and search(size, s, 0).peak_bytes <= least
        }
        forward_size = size if search.is_guided or not free else _fastest(free)
        kept, found = search.most_kept(size, forward_size)
        Plan(size, forward_size, kept, found).apply(sampler)
        self._predicted_peak = found.peak_bytes
        self._is_settled = True

    def _apply(self, sampler: SequentialGradientSampler, size: int, forward_size: int) -> None:
        assert self._search is not None
        found = self._search(size, forward_size, 0)
        Plan(size, forward_size, 0, found).apply(sampler)
        self._predicted_peak = found.peak_bytes


def _fastest(seconds: dict[int, float]) -> int:
    """Return the smallest of the sizes that are about as fast as the fastest."""
    least = min(seconds.values())
    return min(size for size, value in seconds.items() if value * BETTER <= least)


def _shape_of(call: ItemCall) -> tuple[int, Any]:
    leaves = [x.shape[len(call.lead_shape) :] for x in call.item_tensors]
    return call.num_items, (leaves, [type(source) for source in call.sources])


def _covers(planned: tuple[int, Any], shape: tuple[int, Any]) -> bool:
    """Tell whether a plan for one call is good for another: as many items at most, alike."""
    return planned[1] == shape[1] and planned[0] >= shape[0]


def _autocast_of(call: ItemCall) -> torch.dtype | None:
    kind = call.device_type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def _peak_bytes(call: ItemCall) -> int:
    """Return the most bytes that were allocated so far; 0 where nobody counts."""
    return torch.cuda.max_memory_allocated() if call.device_type == "cuda" else 0


def _now_s() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
