"""The errors of sampled gradients agree with closed forms."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import gradient_error
from benchmarks.gradient_error import CASES, RATIOS, Errors, errors_of, rows_of
from benchmarks.measuring.rows import read_rows
from benchmarks.report.error_tables import error_table
from benchmarks.trained_model.snippet_gradients import SnippetGradients
from samplers import AbstractSampler, Block, GradientNorm, Grid, Random
from sgs import SequentialGradientSampler
from tests.benchmarks.tiny import tiny_checkpoint


def video(gram: Tensor) -> SnippetGradients:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(gram), 4, generator=generator)
    return SnippetGradients(gram.double(), features, gram.diag().double().sqrt())


ORTHOGONAL = video(torch.eye(20))
EQUAL = video(torch.ones(20, 20))


def errors(video: SnippetGradients, strategy: AbstractSampler, **setting: Any) -> Errors:
    return errors_of(video, strategy, generator=torch.Generator().manual_seed(0), **setting)


def test_error_of_random_samples_of_orthogonal_gradients() -> None:
    """The variance of each weight is N / n - 1, and the gradients do not interact."""
    found = errors(ORTHOGONAL, Random(), ratio=0.2, weights="inverse_probability", draws=500)
    assert found.relative == pytest.approx(math.sqrt(20 / 4 - 1), rel=1e-9)
    assert found.bias < 0.2
    assert found.cosine == pytest.approx(math.sqrt(4 / 20), rel=1e-9)


def test_unweighted_samples_fall_short_of_the_full_gradient() -> None:
    found = errors(EQUAL, Random(), ratio=0.2, weights="none", draws=50)
    assert found.relative == pytest.approx(0.8, rel=1e-9)
    assert found.bias == pytest.approx(0.8, rel=1e-9)
    assert found.cosine == pytest.approx(1.0, rel=1e-9)


def test_weighted_samples_of_equal_gradients_are_exact() -> None:
    for strategy in (Random(), Grid(), GradientNorm()):
        found = errors(EQUAL, strategy, ratio=0.2, weights="inverse_probability", draws=50)
        assert found.relative == pytest.approx(0, abs=1e-6)
    block = errors(EQUAL, Block(), ratio=0.2, weights="inverse_probability", draws=50)
    assert block.relative > 0.1


def test_norms_find_the_only_snippet_that_matters() -> None:
    gram = torch.zeros(20, 20)
    gram[7, 7] = 4.0
    found = errors(video(gram), GradientNorm(), ratio=0.05, weights="inverse_probability", draws=20)
    assert (found.relative, found.bias, found.cosine) == pytest.approx((0, 0, 1), abs=1e-6)


def test_grid_is_the_worse_one_where_the_order_has_the_period_of_its_stride() -> None:
    """As in a batch of two interleaved views: every grid of half the items has only one of them."""
    interleaved = torch.ones(20)
    interleaved[1::2] = -0.5
    gram = interleaved[:, None] * interleaved
    setting = {"ratio": 0.5, "weights": "inverse_probability", "draws": 200}
    worse = errors(video(gram), Grid(), **setting).relative
    assert worse > 2 * errors(video(gram), Random(), **setting).relative
    in_turn = video(torch.block_diag(torch.ones(10, 10), torch.ones(10, 10)))
    better = errors(in_turn, Grid(), **setting).relative
    assert better < 0.1 * errors(in_turn, Random(), **setting).relative


def test_gradients_of_items_add_up_to_that_of_the_call() -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4, item_dim=1, ratio=0.5)
    items = torch.randn(1, 12, 6)
    encoded = sampler.encode(items)
    encoded.features.square().sum().backward()
    found = SnippetGradients.of(encoded, sampler)
    encoder.zero_grad()
    encoder(items).square().sum().backward()
    full = sum(float(p.grad.double().square().sum()) for p in encoder.parameters())
    assert float(found.gram.sum()) == pytest.approx(full, rel=1e-4)
    assert float(found.gram.diag().sum()) != pytest.approx(full, rel=1e-2)
    expected = 2 * encoder(items)[0].norm(dim=1).double()
    torch.testing.assert_close(found.gradient_norm, expected.detach(), rtol=1e-5, atol=0)


def test_rows_hold_every_setting_and_their_intervals() -> None:
    uneven = video(torch.arange(1.0, 21.0).diag())
    rows = list(rows_of("toy", [ORTHOGONAL, uneven, ORTHOGONAL], draws=10))
    assert len(rows) == len(RATIOS) * len(CASES) == 5 * (8 * 2 - 1)
    for row in rows:
        low, value, high = row["error"]
        assert low <= value <= high
    first = rows[0]
    assert (first["strategy"], first["weights"]) == ("Random", "inverse_probability")
    assert first["to_random"] == pytest.approx([1, 1, 1])
    for row in rows[: len(CASES)]:
        assert row["to_random"][1] == pytest.approx(row["error"][1] / first["error"][1])
    assert error_table("toy", rows).count("\n") == 1 + 15


def test_script_runs_at_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gradient_error, "RATIOS", (0.5,))
    monkeypatch.setattr(gradient_error, "CASES", CASES[:2])
    sizes, path = ["--videos", "2", "--draws", "3"], tmp_path / "rows.json"
    gradient_error.main([str(tiny_checkpoint(tmp_path)), *sizes, "--results", str(path)])
    rows = read_rows(path)
    assert [row["model"] for row in rows] == ["untrained"] * 2 + ["trained"] * 2
    assert all({"device", "torch", "commit", "draws", "num_videos"} < row.keys() for row in rows)
    assert "| Random | inverse_probability |" in capsys.readouterr().out
