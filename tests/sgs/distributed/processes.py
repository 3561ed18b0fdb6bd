"""Two processes of one gloo group, which compute the outcomes of cases for the tests."""

import json
import os
import selectors
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
WORLD_SIZE = 2
# The worker's own limit of 60 s comes first; a case takes a second or two.
SECONDS = 180


class Processes:
    """Ask two processes for the outcome of one case after another: most of the time is their start.

    A process that dies fails the case that it was asked for. The next case starts two new ones.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._starts = 0
        self._running: list[subprocess.Popen[str]] = []

    def outcomes(self, module: str, case: str) -> list[Any]:
        """Return what `outcome_of(case)` of a module returns in each process, as JSON has it."""
        if not self._running:
            self._start()
        try:
            for process in self._running:
                process.stdin.write(json.dumps([module, case]) + "\n")
                process.stdin.flush()
            return [json.loads(answer(process)) for process in self._running]
        except (OSError, EOFError, TimeoutError) as error:
            pytest.fail(f"{case}: {error or type(error).__name__}\n{self._stop()}", pytrace=False)

    def close(self) -> None:
        """Let the processes end, and fail if they die of it."""
        for process in self._running:
            process.stdin.close()
        codes = [process.wait(SECONDS) for process in self._running]
        said = self._stop()
        if any(codes):
            pytest.fail(f"after all outcomes, at its exit, a process died\n{said}")

    def _start(self) -> None:
        self._starts += 1
        store = self._folder / f"store-{self._starts}"
        self._running = [start(rank, store) for rank in range(WORLD_SIZE)]

    def _stop(self) -> str:
        """End the processes, and return how they ended and what they have said."""
        said = []
        for rank, process in enumerate(self._running):
            process.kill()
            code = process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.stdout.close()
            errors = (self._folder / f"store-{self._starts}.errors-{rank}").read_text()
            said.append(f"rank {rank}: exit {code}\n{errors[-4000:]}")
        self._running = []
        return "\n".join(said)


def start(rank: int, store: Path) -> subprocess.Popen[str]:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": WORLD_SIZE}
    place |= {"LOCAL_WORLD_SIZE": WORLD_SIZE, "MASTER_ADDR": "127.0.0.1"}
    ours = {"PYTHONPATH": ROOT, "OMP_NUM_THREADS": 1, "CUDA_VISIBLE_DEVICES": "", **place}
    with Path(f"{store}.errors-{rank}").open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.sgs.distributed.worker", str(store)],
            cwd=ROOT,
            env=os.environ | {name: str(value) for name, value in ours.items()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )


def answer(process: subprocess.Popen[str]) -> str:
    """Read one line."""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(SECONDS):
            raise TimeoutError(f"no outcome in {SECONDS} s")
    if not (line := process.stdout.readline()):
        raise EOFError("a process died")
    return line
