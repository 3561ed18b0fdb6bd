from pathlib import Path

import pytest

from benchmarks import sgs_time
from benchmarks.measuring.measure import Measured
from benchmarks.measuring.rows import read_rows
from benchmarks.report.step_tables import time_table
from benchmarks.training_steps.cases import cases_of
from benchmarks.training_steps.workload import Size, TemporalHead
from tests.benchmarks.tiny import tiny_encoder

TOY = Size("tiny", 1, 10, 2, 4, 2, 4)


@pytest.fixture(autouse=True)
def toy_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "benchmarks.training_steps.workload.build_encoder", lambda *_, **__: tiny_encoder()
    )
    monkeypatch.setattr(sgs_time, "SIZES", {"cpu": [TOY]})


def test_script_runs_at_toy_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.json"
    sgs_time.main(["--rounds", "1", "--results", str(path)])
    rows = read_rows(path)
    assert {row["method"] for row in rows} > {"naive", "checkpoint", "GradCache", "SGS"}
    for row in rows:
        own = row["relative_to"]["SGS"]
        assert own == [1, 1, 1] if row["method"] == "SGS" else own[1] > 0
        assert {"device", "threads", "dtype", "torch", "commit", "is_dirty"} < row.keys()
    assert "| GradCache | 100% |" in capsys.readouterr().out


def test_rows_of_other_encoders_stay() -> None:
    rows = [{"size": {"encoder": name}, "ratio": ratio} for name in "ab" for ratio in (1.0, 0.3)]
    assert sgs_time.others(rows, "a") == rows[2:]


def test_memory_is_predicted_for_what_a_dry_run_knows() -> None:
    cases = {case.key: case for case in cases_of(TOY.workload(TemporalHead), TOY)}
    assert cases["GradCache 1.0"].predicted_bytes() is None
    assert cases["naive 1.0"].predicted_bytes() > cases["SGS 1.0"].predicted_bytes() > 0


def test_what_does_not_fit_is_shown_as_such() -> None:
    row = {
        "method": "naive",
        "ratio": 1.0,
        **Measured(is_out_of_memory=True).row(),
        "relative_to": {},
        "predicted_bytes": 128_690_000_000,
    }
    last = time_table("resnet50_tsm", [row]).splitlines()[-1]
    assert last == "| naive | 100% | out of memory |  |  |  |  | -, -, 128.69 |"
