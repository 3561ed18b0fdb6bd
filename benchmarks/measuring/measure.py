"""Time and memory of several cases in one process, so that they can be compared."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from benchmarks.measuring.rows import Row

Step = Callable[[], object]


@dataclass
class Measured:
    """Time and memory of a case, one entry per round.

    Attributes:
        step_ms: Wall time on GPUs; processor time of this process on CPUs, which other processes
            on the machine do not change.
        wall_ms: Wall time.
        allocated_bytes: Peak of all tensors; GPUs only.
        reserved_bytes: Peak of the allocator; GPUs only.
        is_out_of_memory: Whether the case did not fit. All else is then empty.
    """

    step_ms: list[float] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)
    allocated_bytes: list[int] = field(default_factory=list)
    reserved_bytes: list[int] = field(default_factory=list)
    is_out_of_memory: bool = False

    def row(self) -> Row:
        """Return the numbers of a row of results."""
        return {
            "is_out_of_memory": self.is_out_of_memory,
            "rounds": len(self.step_ms),
            "step_ms": quartiles(self.step_ms),
            "wall_ms": quartiles(self.wall_ms),
            "peak_allocated_bytes": max(self.allocated_bytes, default=None),
            "peak_reserved_bytes": max(self.reserved_bytes, default=None),
        }


def measure(
    cases: Mapping[str, Step], *, device: torch.device, rounds: int, warm_up: int = 1
) -> dict[str, Measured]:
    """Run all cases in turn, round after round, each round in another order.

    A slow spell of the machine then hits all cases, and no case always finds the memory that the
    same other one has freed. A case that does not fit into the memory of a GPU is left out from
    then on; any other error ends the run.

    Args:
        cases: The steps by name.
        device: Where they run.
        rounds: Rounds that count, at least 1.
        warm_up: Rounds before these, which do not count.
    """
    found = {name: Measured() for name in cases}
    names, order = list(cases), random.Random(0)
    for number in range(warm_up + rounds):
        for name in order.sample(names, len(names)):
            if found[name].is_out_of_memory:
                continue
            try:
                _run(cases[name], device, found[name] if number >= warm_up else Measured())
            except torch.OutOfMemoryError:
                found[name] = Measured(is_out_of_memory=True)
    return found


def _run(step: Step, device: torch.device, found: Measured) -> None:
    """Run a case once and add its time and memory."""
    gc.collect()
    on_gpu = device.type == "cuda"
    if on_gpu:
        # The memory that one case has reserved must not be counted for the next.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize(device)
    wall_s, process_s = time.perf_counter(), time.process_time()
    step()
    if on_gpu:
        torch.cuda.synchronize(device)
    process_ms = 1000 * (time.process_time() - process_s)
    wall_ms = 1000 * (time.perf_counter() - wall_s)
    found.step_ms.append(wall_ms if on_gpu else process_ms)
    found.wall_ms.append(wall_ms)
    if on_gpu:
        found.allocated_bytes.append(torch.cuda.max_memory_allocated(device))
        found.reserved_bytes.append(torch.cuda.max_memory_reserved(device))


def relative(case: Measured, reference: Measured) -> list[float]:
    """Return quartiles of the ratio of two cases of one run, taken round by round."""
    return quartiles([a / b for a, b in zip(case.step_ms, reference.step_ms, strict=True)])


def quartiles(values: Sequence[float]) -> list[float]:
    """Return first quartile, median and third quartile; an empty list of no values."""
    if len(values) < 2:
        return 3 * list(values)
    return statistics.quantiles(values, n=4, method="inclusive")
