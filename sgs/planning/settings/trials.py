"""Sizes that are tried from one training step to the next, until the fastest is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sgs.engine import FIRST_PASS, SECOND_PASS
from sgs.planning.settings.plan import Plan
from sgs.planning.settings.search import LARGEST, Search

# Another size must be faster by so much that noise does not choose it.
BETTER = 0.97


class Trials:
    """The training steps with one encoder on calls of one kind.

    Args:
        search: What fits.

    Attributes:
        plan: The settings of the next step.
    """

    def __init__(self, search: Search) -> None:
        self._search = search
        self._steps = 0
        self._seconds: dict[int, dict[str, float]] = {}
        self._is_settled = False
        size = search.largest_size()
        self.plan = search.without_graphs(size, search.largest_forward_size(size))

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

    @property
    def have_begun(self) -> bool:
        """Whether a step was made."""
        return self._steps > 0

    def correct(self, limit: int) -> None:
        """Plan for another limit, which the steps have shown."""
        self._search.limit = limit
        self._is_settled = False

    def advance(self) -> None:
        """Plan the next step: another size to try, or the fastest with as many graphs as fit."""
        if self._is_settled or not self.have_begun:
            return
        size = self._next_size()
        if size is None:
            self.plan = self._fastest_plan()
            self._is_settled = True
        else:
            self.plan = self._search.without_graphs(size, size)

    def _next_size(self) -> int | None:
        """Return a size that was not tried and may be faster: downhill, then uphill."""
        if not self._seconds:
            return self.plan.micro_batch_size
        tried = sorted(self._seconds)
        costs = {size: self._cost(size) for size in tried}
        best = min(costs, key=lambda size: costs[size])
        if best == tried[0] and best > 1 and self._fits(best // 2):
            return best // 2
        larger = 2 * best
        is_free = larger not in costs and larger <= min(LARGEST, self._search.num_sampled)
        return larger if is_free and best == tried[-1] and self._fits(larger) else None

    def _fits(self, size: int) -> bool:
        return self._search.fits(self._search(size, size, 0))

    def _cost(self, size: int) -> float:
        """Return the seconds per item of both passes; infinite if one was not seen."""
        seconds = self._seconds[size]
        if len(seconds) < 2:
            return float("inf")
        ratio = self._search.num_sampled / max(self._search.smallest.num_items, 1)
        return seconds[FIRST_PASS] + ratio * seconds[SECOND_PASS]

    def _fastest_plan(self) -> Plan:
        search = self._search
        costs = {size: self._cost(size) for size in self._seconds if self._fits(size)}
        size = _fastest(costs) if costs else 1
        least = search(size, size, 0).peak_bytes
        free = {
            s: seconds[FIRST_PASS]
            for s, seconds in self._seconds.items()
            if FIRST_PASS in seconds and search(size, s, 0).peak_bytes <= least
        }
        forward_size = size if search.is_guided or not free else _fastest(free)
        return search.most_kept(size, forward_size)


def _fastest(seconds: dict[int, float]) -> int:
    """Return the smallest of the sizes that are about as fast as the fastest."""
    least = min(seconds.values())
    return min(size for size, value in seconds.items() if value * BETTER <= least)


def _now_s() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
