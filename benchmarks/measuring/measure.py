"""Time and memory of several cases in one process, so that they can be compared."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

Step = Callable[[], object]


@dataclass
class Measured:
    """What a case took, one entry per round.

    Attributes:
        step_ms: On GPUs the time on the wall; on CPUs that of the process, from which other
            processes on the machine take nothing.
        wall_ms: The time on the wall.
        peak_allocated_bytes: The most that tensors took in a round; GPUs only.
        peak_reserved_bytes: The most that the allocator held; GPUs only.
        is_out_of_memory: Whether the case did not fit, so that there is nothing else.
    """

    step_ms: list[float] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    is_out_of_memory: bool = False

    def add(self, other: Measured) -> None:
        """Add the rounds of another one."""
        self.step_ms += other.step_ms
        self.wall_ms += other.wall_ms
        if other.peak_allocated_bytes is not None and other.peak_reserved_bytes is not None:
            self.peak_allocated_bytes = max(
                self.peak_allocated_bytes or 0, other.peak_allocated_bytes
            )
            self.peak_reserved_bytes = max(self.peak_reserved_bytes or 0, other.peak_reserved_bytes)

    def row(self) -> dict[str, Any]:
        """Return the numbers of a row of results."""
        return {
            "is_out_of_memory": self.is_out_of_memory,
            "rounds": len(self.step_ms),
            "step_ms": quartiles(self.step_ms),
            "wall_ms": quartiles(self.wall_ms),
            "peak_allocated_bytes": self.peak_allocated_bytes,
            "peak_reserved_bytes": self.peak_reserved_bytes,
        }


def measure(
    cases: Mapping[str, Step], *, device: torch.device, rounds: int, warm_up: int = 1
) -> dict[str, Measured]:
    """Run all cases in turn, round after round, each round in another order.

    What slows the machine down for a while so meets all of them, and no case always runs after the
    same other one, whose freed memory it finds. A case that does not fit into the memory of a GPU
    is left out from then on; any other error ends the run.

    Args:
        cases: What is measured, by name.
        device: Where it runs.
        rounds: Rounds that count, at least 1.
        warm_up: Rounds before these, which do not.
    """
    found = {name: Measured() for name in cases}
    names, order = list(cases), random.Random(0)
    for number in range(warm_up + rounds):
        for name in order.sample(names, len(names)):
            if found[name].is_out_of_memory:
                continue
            try:
                once = _run(cases[name], device)
            except torch.OutOfMemoryError:
                found[name] = Measured(is_out_of_memory=True)
                continue
            if number >= warm_up:
                found[name].add(once)
    return found


def _run(step: Step, device: torch.device) -> Measured:
    """Run a case once."""
    gc.collect()
    on_gpu = device.type == "cuda"
    if on_gpu:
        # What one case has reserved must not be counted for the next.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize(device)
    wall_s, process_s = time.perf_counter(), time.process_time()
    step()
    if on_gpu:
        torch.cuda.synchronize(device)
    process_ms = 1000 * (time.process_time() - process_s)
    wall_ms = 1000 * (time.perf_counter() - wall_s)
    return Measured(
        step_ms=[wall_ms if on_gpu else process_ms],
        wall_ms=[wall_ms],
        peak_allocated_bytes=torch.cuda.max_memory_allocated(device) if on_gpu else None,
        peak_reserved_bytes=torch.cuda.max_memory_reserved(device) if on_gpu else None,
    )


def relative(case: Measured, reference: Measured) -> list[float]:
    """Return quartiles of the ratio of two cases of one run, taken round by round."""
    return quartiles([a / b for a, b in zip(case.step_ms, reference.step_ms, strict=True)])


def quartiles(values: Sequence[float]) -> list[float]:
    """Return first quartile, median and third quartile; nothing of nothing."""
    if len(values) < 2:
        return 3 * list(values)
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return [first, median, third]
