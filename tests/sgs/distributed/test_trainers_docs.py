"""The examples of docs/trainers.md run by their command, and its table shows their lines."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sgs.distributed.documented import PROGRAMS, outcome_of
from tests.sgs.distributed.processes import Processes

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs/trainers.md").read_text()
MARK = "  # <- the changed line"
STARTS = {name: program.split()[1] for name, program in PROGRAMS.items()}


def table_lines(text: str) -> list[str]:
    """Return the code in the table."""
    rows = [row for row in text.splitlines() if row.startswith("| ")][1:]
    lines = [code for row in rows for code in re.findall(r"`([^`]+)`", row)]
    assert len(rows) == 5, rows
    return lines


def missing(lines: list[str]) -> list[str]:
    """Return the lines that stand in no program, whatever their indentation and mark."""
    shown = {x.strip().removesuffix(MARK) for text in PROGRAMS.values() for x in text.splitlines()}
    return [line for line in lines if line not in shown]


def test_every_trainer_has_a_program() -> None:
    assert len(PROGRAMS) == 7
    assert set(STARTS.values()) == {"python", "torchrun"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_marks_its_changed_line(name: str) -> None:
    (changed,) = [line for line in PROGRAMS[name].splitlines() if line.endswith(MARK)]
    assert "SequentialGradientSampler(encoder, " in changed


@pytest.mark.parametrize("name", [name for name, start in STARTS.items() if start == "torchrun"])
def test_program_of_several_processes_runs(name: str, processes: Processes) -> None:
    assert processes.outcomes("tests.sgs.distributed.documented", name) == ["ran", "ran"]


# Lightning's advice.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, start in STARTS.items() if start == "python"])
def test_program_of_one_process_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert outcome_of(name) == "ran"


def test_documented_command_runs(tmp_path: Path) -> None:
    program = PROGRAMS["ddp.py"]
    # Ended by hand, since torch may abort if Python exits so early (see docs/trainers.md).
    (tmp_path / "ddp.py").write_text(f"{program}\nos._exit(0)\n")
    command = program.splitlines()[0].removeprefix("# torchrun ")
    finished = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *command.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-4000:]


def test_table_shows_lines_of_the_blocks() -> None:
    lines = table_lines(DOCUMENT)
    assert sum("SequentialGradientSampler(" in line for line in lines) == 5
    assert missing(lines) == []


def test_line_of_no_program_is_detected() -> None:
    """The negative control."""
    assert missing(["import torch", "b = 2"]) == ["b = 2"]
