"""Time and memory of several cases in one process, so that they can be compared."""

import gc
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
    """Run all cases in turn, round after round, each round starting with another one.

    What slows the machine down for a while so meets all of them. A case that does not fit into the
    memory of a GPU is left out from then on; any other error ends the run.

    Args:
        cases: What is measured, by name.
        device: Where it runs.
        rounds: Rounds that count, at least 1.
        warm_up: Rounds before these, which do not.
    """
    found = {name: Measured() for name in cases}
    names = list(cases)
    for number in range(warm_up + rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            if not found[name].is_out_of_memory:
                _run(cases[name], found[name], device, counts=number >= warm_up)
    return found


def _run(step: Step, measured: Measured, device: torch.device, *, counts: bool) -> None:
    gc.collect()
    on_gpu = device.type == "cuda"
    if on_gpu:
        # What one case has reserved must not be counted for the next.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize(device)
    wall, process = time.perf_counter(), time.process_time()
    try:
        step()
    except torch.OutOfMemoryError:
        measured.__init__(is_out_of_memory=True)  # type: ignore[misc]
        return
    if on_gpu:
        torch.cuda.synchronize(device)
    wall_ms, process_ms = (
        1000 * (time.perf_counter() - wall),
        1000 * (time.process_time() - process),
    )
    if counts:
        measured.wall_ms.append(wall_ms)
        measured.step_ms.append(wall_ms if on_gpu else process_ms)
    if on_gpu and counts:
        allocated = torch.cuda.max_memory_allocated(device)
        reserved = torch.cuda.max_memory_reserved(device)
        measured.peak_allocated_bytes = max(measured.peak_allocated_bytes or 0, allocated)
        measured.peak_reserved_bytes = max(measured.peak_reserved_bytes or 0, reserved)


def relative(case: Measured, reference: Measured) -> list[float]:
    """Return quartiles of the ratio of two cases of one run, taken round by round."""
    return quartiles([a / b for a, b in zip(case.step_ms, reference.step_ms, strict=True)])


def quartiles(values: Sequence[float]) -> list[float]:
    """Return first quartile, median and third quartile; nothing of nothing."""
    if len(values) < 2:
        return 3 * list(values)
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return [first, median, third]
