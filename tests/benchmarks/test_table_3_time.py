from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import table_3_time
from benchmarks.measuring.rows import read_rows
from benchmarks.paper_tables import TABLE_3
from benchmarks.training_steps.workload import Size, Workload
from tests.benchmarks.tiny import tiny_encoder

TOY = Size("tiny", 1, 20, 2, 4, 4, 4)


def test_script_runs_at_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "benchmarks.training_steps.workload.build_encoder", lambda *_, **__: tiny_encoder()
    )
    monkeypatch.setattr(table_3_time, "SIZES", {"cpu": TOY})
    path = tmp_path / "rows.json"
    table_3_time.main(["--rounds", "1", "--results", str(path)])
    rows = read_rows(path)
    assert [row["method"] for row in rows] == [name for name, _, _ in TABLE_3]
    assert rows[0]["relative_to"]["naive"] == [1, 1, 1]
    assert all(row["relative_to"]["naive"][1] > 0 for row in rows)
    assert "| SGS, K = 1 | 100% |" in capsys.readouterr().out


def test_rows_call_the_encoder_as_their_names_say() -> None:
    sizes: list[int] = []
    layer = nn.Linear(3, 2)
    layer.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    workload = Workload(layer, None, torch.randn(20, 3), lambda x: x.square().mean(), 4)
    cases = {case.method: case for case in table_3_time.cases_of_table(workload, TOY)}
    called = {}
    for name in ("SGS, K = 8", "SGS, K = 2", "SGS, K = 4, ratio 20 %"):
        cases[name].gradients()  # The first call of a sampler tries whether items interact.
        sizes.clear()
        cases[name].gradients()
        called[name] = list(sizes)
    assert called["SGS, K = 8"] == 2 * [8, 8, 4]
    assert called["SGS, K = 2"] == 20 * [2]
    assert called["SGS, K = 4, ratio 20 %"] == 6 * [4]
