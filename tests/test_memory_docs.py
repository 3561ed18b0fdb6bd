"""What docs/memory.md shows runs, and the command prints what it says."""

import shlex
from pathlib import Path

import pytest

from sgs.planning.command_line.command import main
from tests.memory_docs import DOCUMENT, PICTURE, PYTHON, SESSION, encoder_file

TEXT = DOCUMENT.read_text()
BLOCKS, SESSIONS = PYTHON.findall(TEXT), SESSION.findall(TEXT)


def printed(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command of the page in this process."""
    program = "python -m sgs "
    assert command.startswith(program)
    main(shlex.split(command.removeprefix(program)))
    return capsys.readouterr().out


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder with the file that the page shows."""
    (tmp_path / "encoder.py").write_text(encoder_file(TEXT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_blocks_run_one_after_another() -> None:
    names: dict[str, object] = {}
    assert len(BLOCKS) >= 3
    for block in BLOCKS:
        exec(compile(block, "docs/memory.md", "exec"), names)


@pytest.mark.parametrize(("command", "output"), SESSIONS)
def test_command_prints_what_the_page_shows(
    command: str, output: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(command, capsys) == output
    assert (folder / "memory.png").exists() == ("--picture memory.png" in command)


def test_page_shows_two_commands_and_a_picture() -> None:
    assert len(SESSIONS) == 2
    assert "](memory.png)" in TEXT
    assert PICTURE.exists()


def test_other_figures_than_those_shown_are_detected(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The negative control: one item less."""
    step = "--item 3x16x224x224 --num-items 2 --budget 8GiB"
    first = printed(f"python -m sgs encoder.py:whole {step}", capsys)
    assert printed(f"python -m sgs encoder.py:whole {step.replace('2 ', '1 ')}", capsys) != first
