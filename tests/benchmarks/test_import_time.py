import builtins
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks import import_time
from benchmarks.measuring.rows import read_rows


def test_script_runs_at_toy_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.json"
    cheap = ["--package", "json", "--after", "math", "--rounds", "2"]
    import_time.main([*cheap, "--results", str(path)])
    (row,) = read_rows(path)
    assert (row["package"], row["after"], row["rounds"]) == ("json", "math", 2)
    assert {"device", "threads", "torch", "commit", "is_dirty"} < row.keys()
    assert 0 < row["import_s"][0] <= row["import_s"][1] <= row["import_s"][2]
    assert "json after math, import_s" in capsys.readouterr().out


def test_processes_alternate_and_the_first_round_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statements: list[str] = []

    def process(statement: str, after: str) -> tuple[float, float]:
        assert after == "torch"
        statements.append(statement)
        number = len(statements)
        return (0.01 * number, 5.0 + number) if statement != "pass" else (0.0, 5.0)

    monkeypatch.setattr(import_time, "fresh_process", process)
    row = import_time.run("sgs", "torch", rounds=3)
    assert statements == ["pass", "import sgs"] * 4
    assert row["import_s"] == pytest.approx([0.05, 0.06, 0.07])
    assert row["process_difference_s"] == pytest.approx([5, 6, 7])


def test_clock_runs_during_the_statement_only(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    def recorded(name: str, *others: object) -> object:
        events.append(name)
        return __import__(name, *others)

    monkeypatch.setattr(time, "perf_counter", lambda: float(events.append("clock") or 0))
    program = import_time.PROGRAM.format(after="math", statement="events.append('statement')")
    exec(program, {"events": events, "__builtins__": {**vars(builtins), "__import__": recorded}})
    assert events == ["time", "math", "clock", "statement", "clock"]


def test_a_failing_import_fails_the_script() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        import_time.run("no_such_package", "math", rounds=1)
