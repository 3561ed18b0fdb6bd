from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import overhead
from benchmarks.measuring.rows import read_rows
from benchmarks.overhead import CASES, Case
from benchmarks.report.sgs_targets import OVERHEADS
from benchmarks.training_steps.methods import hand_written, sampled
from sgs import SequentialGradientSampler


def test_script_runs_at_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {name: Case(lambda: nn.Linear(3, 4), (3,), 5) for name in ("one", "other")}
    monkeypatch.setattr(overhead, "CASES", small)
    path = tmp_path / "rows.json"
    overhead.main(["--rounds", "2", "--results", str(path)])
    overhead.main(["--rounds", "3", "--encoders", "other", "--results", str(path)])
    one, other = read_rows(path)
    assert [(row["encoder"], row["rounds"]) for row in (one, other)] == [("one", 2), ("other", 3)]
    assert {"device", "threads", "torch", "commit", "is_dirty"} < one.keys()
    assert 0 < one["to_hand_written"][0] <= one["to_hand_written"][1]
    assert 0 < one["wall_to_hand_written"][0] <= one["wall_to_hand_written"][2]
    assert "one (1 modules): " in capsys.readouterr().out


def test_every_encoder_has_a_target() -> None:
    assert CASES.keys() == OVERHEADS.keys()


@pytest.mark.parametrize("name", CASES)
def test_both_ways_compute_the_same_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "NUM_ITEMS", 6)
    workload = overhead.workload_of(CASES[name])
    sampler = SequentialGradientSampler(workload.encoder, micro_batch_size=4)
    found = []
    for method in (hand_written, lambda workload: sampled(workload, sampler)):
        overhead.step(method, workload)
        found.append([None if p.grad is None else p.grad.clone() for p in workload.trained])
    assert any(bool(gradient.any()) for gradient in found[0] if gradient is not None)
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize(("name", "least"), [("320 tiny layers", 320), (list(CASES)[1], 500)])
def test_encoders_have_many_modules(name: str, least: int) -> None:
    assert len(list(CASES[name].build().modules())) > least
