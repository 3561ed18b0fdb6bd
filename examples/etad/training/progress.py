"""The progress bar of a training run."""

import resource
import sys
import time
from collections.abc import Mapping, Sequence

import torch
from tqdm import tqdm


class Progress:
    """A bar with loss, time left, snippets per second and peak memory.

    Args:
        total_steps: Steps of the whole run.
        done_steps: Steps that an earlier part of the run has done.
        device: Whose memory is shown; for the CPU, that of the process.
    """

    def __init__(self, total_steps: int, *, done_steps: int, device: torch.device) -> None:
        self._device = device
        self._snippets = 0
        self._start_s = time.perf_counter()
        self._loss: float | None = None
        # A file gets a line every few seconds, a terminal a moving bar.
        interval_s = 0.2 if sys.stderr.isatty() else 15
        self._bar = tqdm(
            total=total_steps,
            initial=done_steps,
            desc="train",
            unit="step",
            mininterval=interval_s,
            maxinterval=interval_s,
            dynamic_ncols=True,
        )

    def step(self, *, loss: float, num_snippets: int, epoch: int) -> None:
        """Count one step."""
        self._loss = loss if self._loss is None else 0.95 * self._loss + 0.05 * loss
        self._snippets += num_snippets
        rate = self._snippets / (time.perf_counter() - self._start_s)
        self._bar.set_postfix_str(
            f"epoch {epoch}, loss {self._loss:.3f}, {rate:.0f} snippets/s, "
            f"peak {peak_memory_mib(self._device):.0f} MiB",
            refresh=False,
        )
        self._bar.update()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.write(text)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak memory so far: allocated on a CUDA device, else resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Linux counts KiB, macOS bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def mean_losses(losses: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each named loss."""
    return {name: sum(row[name] for row in losses) / len(losses) for name in losses[0]}
