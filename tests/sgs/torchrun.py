"""Start a worker of these tests in two processes."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]


def output_of(module: str, *arguments: str) -> str:
    """Run a module under torchrun, and return what its processes have written."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    finished = subprocess.run(
        [*torchrun, "--nproc-per-node=2", "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    return finished.stdout


def outcomes_of(module: str) -> dict[str, list[str]]:
    """Run a module that writes lines of JSON, and return the outcomes of each case."""
    # Two processes write at once: their lines may run together.
    text = output_of(module)
    decoder, found = json.JSONDecoder(), defaultdict(list)
    while (start := text.find('{"case"')) >= 0:
        row, end = decoder.raw_decode(text[start:])
        found[row["case"]].append(row["outcome"])
        text = text[start + end :]
    return found
