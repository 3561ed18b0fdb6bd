from pathlib import Path

import pytest

from benchmarks import plan_choice
from benchmarks.measuring.rows import read_rows
from benchmarks.plan_choice import Choice
from benchmarks.training_steps.workload import Size
from tests.benchmarks.tiny import tiny_encoder


def test_script_runs_at_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "benchmarks.training_steps.workload.build_encoder",
        lambda *_, **__: tiny_encoder(frame_size=16, channels=64),
    )
    monkeypatch.setattr(plan_choice, "SIZES", (Size("tiny", 1, 8, 4, 16, 1, 1),))
    monkeypatch.setattr(plan_choice, "BUDGETS", (3.0,))
    path = tmp_path / "rows.json"
    plan_choice.main(["--rounds", "1", "--results", str(path)])
    (row,) = read_rows(path)
    assert row["chosen_peak_bytes"] <= row["budget_bytes"]
    assert row["best_peak_bytes"] <= row["budget_bytes"]
    assert row["num_tried"] >= 2
    assert row["chosen_to_best"][1] > 0
    assert "of the time of the best of" in capsys.readouterr().out


def test_all_sizes_and_numbers_of_graphs_are_tried() -> None:
    found = list(plan_choice.choices(8))
    assert {choice.micro_batch_size for choice in found} == {1, 2, 4, 8}
    assert [c.kept_graphs for c in found if c.micro_batch_size == 1] == [0, 1, 2, 4]
    assert Choice(8, 8, 1) in found
