"""The examples of docs/trainers.md run by their command, and its table shows their lines."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs/trainers.md").read_text()
MARK = "  # <- the changed line"
PROGRAMS = {
    "python": [sys.executable],
    "torchrun": [sys.executable, "-m", "torch.distributed.run"],
}


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.S)


def command_of(block: str) -> list[str]:
    """Return the command in the first line of a block."""
    return block.splitlines()[0].removeprefix("# ").split()


BLOCKS = {command_of(block)[-1]: block for block in python_blocks(DOCUMENT)}


def run(block: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block by its command.

    A second is added at the end: torch aborts if Python exits while a thread of gloo still wants
    the interpreter's lock, to let go of an object of the last backward (see docs/trainers.md).
    """
    program, *arguments, name = command_of(block)
    (folder / name).write_text(f"{block}\nimport time\n\ntime.sleep(1)\n")
    return subprocess.run(
        [*PROGRAMS[program], *arguments, name],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, subprocess.CompletedProcess[str]]:
    """Run all blocks, two at a time: most of the time is their start."""
    folder = tmp_path_factory.mktemp("trainers")
    with ThreadPoolExecutor(max_workers=2) as pool:
        runs = {name: pool.submit(run, block, folder) for name, block in BLOCKS.items()}
        return {name: future.result() for name, future in runs.items()}


def table_lines(text: str) -> list[str]:
    """Return the code in the table."""
    rows = [row for row in text.splitlines() if row.startswith("| ")][1:]
    lines = [code for row in rows for code in re.findall(r"`([^`]+)`", row)]
    assert len(rows) == 5, rows
    return lines


def missing(lines: list[str], blocks: list[str]) -> list[str]:
    """Return the lines that stand in no block, whatever their indentation and mark."""
    shown = {line.strip().removesuffix(MARK) for block in blocks for line in block.splitlines()}
    return [line for line in lines if line not in shown]


def test_every_trainer_has_a_block() -> None:
    assert len(BLOCKS) == len(python_blocks(DOCUMENT)) == 7


@pytest.mark.parametrize("name", BLOCKS)
def test_block_marks_its_changed_line(name: str) -> None:
    (changed,) = [line for line in BLOCKS[name].splitlines() if line.endswith(MARK)]
    assert "SequentialGradientSampler(encoder, " in changed


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_block_runs(name: str, finished: dict[str, subprocess.CompletedProcess[str]]) -> None:
    assert finished[name].returncode == 0, finished[name].stderr[-4000:]


def test_broken_block_is_detected(tmp_path: Path) -> None:
    """The negative control."""
    assert run("# python broken.py\nraise ValueError", tmp_path).returncode != 0


def test_table_shows_lines_of_the_blocks() -> None:
    lines = table_lines(DOCUMENT)
    assert sum("SequentialGradientSampler(" in line for line in lines) == 5
    assert missing(lines, python_blocks(DOCUMENT)) == []


def test_line_of_no_block_is_detected() -> None:
    """The negative control."""
    assert missing(["a = 1", "b = 2"], ["a = 1" + MARK]) == ["b = 2"]
