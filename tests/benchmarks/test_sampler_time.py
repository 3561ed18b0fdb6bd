import copy
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from benchmarks import sampler_time
from benchmarks.draws.cases import (
    FARTHEST,
    FARTHEST_CLUSTER,
    PROBABILITY,
    SAMPLE,
    STRATEGIES,
    Draw,
    draws_of,
)
from benchmarks.draws.peers import DPPY, PEERS, RANDPERM, TORCH_CLUSTER, TORCH_CLUSTER_64
from benchmarks.draws.settings import HEADLINE, SETTINGS, Setting
from benchmarks.measuring.measure import Measured
from benchmarks.measuring.rows import Row, read_rows
from benchmarks.report import sampler_targets
from benchmarks.report.pictures import draw_sampler_time
from benchmarks.report.sampler_targets import draw_of
from samplers import Candidates

CPU = torch.device("cpu")
TOY = Setting(num_snippets=9, channels=5, ratio=0.2)
TOYS = [TOY, Setting(num_snippets=20, on_map=False, channels=5, ratio=0.3)]
TOY_GAUSSIAN = Setting(num_snippets=9, channels=5, features="gaussian", only_features=True)


def first_items(_: object, count: int) -> list[int]:
    """What is nobody's choice of farthest points."""
    return list(range(count))


def reversed_farthest(features: torch.Tensor, count: int) -> torch.Tensor:
    """The same choice in another order."""
    sampler = STRATEGIES[FARTHEST]
    return sampler.sample(TOY.candidates(CPU), count).flip(0)


@pytest.fixture(autouse=True)
def toy_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_time, "SETTINGS", [*TOYS, TOY_GAUSSIAN])
    monkeypatch.setattr(sampler_time, "_SHORTEST_S", 0)
    monkeypatch.setattr(sampler_targets, "HEADLINE", TOY)
    monkeypatch.setattr(sampler_targets, "GAUSSIAN", TOY_GAUSSIAN)


@pytest.fixture
def rows() -> list[Row]:
    return [row for setting in (*TOYS, TOY_GAUSSIAN) for row in toy_rows(setting)]


@cache
def toy_rows(setting: Setting) -> list[Row]:
    return sampler_time.run(setting, CPU, rounds=2, with_dppy=False)


def test_script_runs_at_toy_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.json"
    sampler_time.main(["--rounds", "1", "--results", str(path)])
    written = read_rows(path)
    for setting in TOYS:
        own = [row for row in written if row["setting"] == setting.row()]
        assert {row["method"] for row in own} == {*STRATEGIES, FARTHEST_CLUSTER, *PEERS}
    shown = capsys.readouterr().out
    assert "| Random | sample |" in shown
    assert "| Random, 9 of 45 proposals, to torch.randperm | - | ≤ 5.0 |" in shown


def test_rows_hold_times_and_conditions_or_a_reason(rows: list[Row]) -> None:
    for row in rows:
        assert {"device", "threads", "dtype", "torch", "commit", "is_dirty"} < row.keys()
        if row["unavailable"] is None:
            assert row["rounds"] == 2
            assert 0 < row["step_ms"][0] <= row["step_ms"][1] <= row["step_ms"][2]
            assert row["relative_to"][RANDPERM][1] > 0
        else:
            assert row["step_ms"] == []
    assert draw_of(rows, TOY, RANDPERM)["relative_to"][RANDPERM] == [1, 1, 1]


def test_short_draws_are_repeated_and_long_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    monkeypatch.setattr("benchmarks.draws.cases._ours", lambda *_: iter(()))
    monkeypatch.setattr("benchmarks.draws.cases.PEERS", {RANDPERM: lambda *_: calls.append(None)})
    for shortest_s, is_repeated in ((0, False), (1e-3, True)):
        calls.clear()
        monkeypatch.setattr(sampler_time, "_SHORTEST_S", shortest_s)
        (row,) = sampler_time.run(TOY, CPU, rounds=2, with_dppy=False)
        assert (row["repeats"] > 1) is is_repeated
        trials = 1 + sampler_time._TRIALS * (shortest_s > 0)
        assert len(calls) == trials + 2 * row["repeats"]


def test_time_is_that_of_one_draw() -> None:
    found = sampler_time._per_draw(Measured(step_ms=[30.0, 60.0], wall_ms=[90.0, 150.0]), 3)
    assert (found.step_ms, found.wall_ms) == ([10, 20], [30, 50])


def test_what_has_probabilities_is_timed_for_them(rows: list[Row]) -> None:
    timed = {row["method"] for row in rows if row["what"] == PROBABILITY}
    assert timed == set(STRATEGIES) - {FARTHEST}


def test_every_sample_has_the_count_that_is_asked_for() -> None:
    for draw in draws_of(TOY, TOY.candidates(CPU), with_dppy=False):
        if draw.what == SAMPLE and draw.unavailable is None:
            assert len({int(item) for item in draw.run()}) == TOY.count, draw.method


def test_other_items_than_ours_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.draws.cases.missing", lambda *_: None)
    chosen = {TORCH_CLUSTER: reversed_farthest, TORCH_CLUSTER_64: first_items}
    peers = {RANDPERM: PEERS[RANDPERM], **chosen}
    monkeypatch.setattr("benchmarks.draws.cases.PEERS", peers)
    monkeypatch.setattr("benchmarks.draws.cases._farthest_cluster", first_items)
    rows = sampler_time.run(TOY, CPU, rounds=1, with_dppy=False)
    assert draw_of(rows, TOY, FARTHEST)["same_index"]
    assert draw_of(rows, TOY, TORCH_CLUSTER)["same_index"]
    assert draw_of(rows, TOY, TORCH_CLUSTER_64)["same_index"] is False
    assert draw_of(rows, TOY, RANDPERM)["same_index"] is None


def test_a_missing_package_is_a_row_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torch_cluster", "fpsample", "dppy.finite_dpps"):
        monkeypatch.setitem(sys.modules, package, None)
    rows = sampler_time.run(TOY, CPU, rounds=1, with_dppy=True)
    without = {row["method"] for row in rows if row["unavailable"] is not None}
    assert without == {*PEERS, FARTHEST_CLUSTER} - {RANDPERM}
    assert "not installed" in draw_of(rows, TOY, DPPY)["unavailable"]
    assert draw_of(rows, TOY, "DPP")["relative_to"].keys() == {RANDPERM}
    assert "not installed" in sampler_time.table(TOY, rows)


def test_what_takes_minutes_is_timed_once_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("benchmarks.draws.cases.missing", lambda *_: None)

    def only_dppy(setting: Setting, candidates: Candidates) -> Iterator[Draw]:
        yield Draw(RANDPERM, SAMPLE, lambda: None)
        yield Draw(DPPY, SAMPLE, lambda: calls.append(setting.count))

    monkeypatch.setattr("benchmarks.draws.cases.HEADLINE", TOY)
    monkeypatch.setattr("benchmarks.draws.cases._LARGEST", {(DPPY, SAMPLE): 10})
    monkeypatch.setattr("benchmarks.draws.cases._peers", only_dppy)
    monkeypatch.setattr("benchmarks.draws.cases._farthest_cluster", first_items)
    rows = sampler_time.run(TOY, CPU, rounds=2, with_dppy=False)
    assert draw_of(rows, TOY, DPPY)["unavailable"] == "takes long: timed up to 10 items only"
    assert calls == []
    rows = sampler_time.run(TOY, CPU, rounds=2, with_dppy=True)
    assert draw_of(rows, TOY, DPPY)["rounds"] == len(calls) == 1
    assert draw_of(rows, TOY, "DPP")["relative_to"][DPPY][1] > 0


def test_targets_follow_the_rows(rows: list[Row]) -> None:
    def verdict(rows: list[Row], word: str) -> bool | None:
        (found,) = [t for t in sampler_targets.sampler_targets(rows) if word in t.subject]
        return found.is_met

    changed = copy.deepcopy(rows)
    dpp, farthest, grid = (draw_of(changed, TOY, name) for name in ("DPP", FARTHEST, "Grid"))
    for median, ratio, expected in ((499.0, 0.01, True), (501.0, 0.011, False)):
        dpp["step_ms"], dpp["relative_to"][DPPY] = 3 * [median], 3 * [ratio]
        assert verdict(changed, "one core") is expected
        assert verdict(changed, "DPPy to it") is expected
    for ratio, expected in ((1.0, True), (1.01, False)):
        farthest["relative_to"][TORCH_CLUSTER] = 3 * [ratio]
        assert verdict(changed, "walk features") is expected
    for ratio, expected in ((5.0, True), (5.01, False)):
        grid["relative_to"][RANDPERM] = 3 * [ratio]
        assert verdict(changed, "Grid") is expected
    compared = draw_of(changed, TOY, TORCH_CLUSTER_64)
    compared["same_index"] = True
    del farthest["relative_to"][TORCH_CLUSTER]
    assert verdict(changed, "walk features") is None
    compared["same_index"] = False
    assert verdict(changed, "settings with") is False
    del dpp["relative_to"][DPPY]
    assert verdict(changed, "DPPy to it") is None


def test_picture_shows_every_method_that_was_timed(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.report.pictures.HEADLINE", TOY)
    draw_sampler_time(rows, tmp_path / "sampler.png")
    assert 200_000 > (tmp_path / "sampler.png").stat().st_size > 5_000


def test_features_of_a_walk_change_slowly_and_gaussian_ones_do_not() -> None:
    def likeness(features: str) -> float:
        on_axis = Setting(on_map=False, channels=16, features=features)
        values = on_axis.candidates(CPU).features
        assert values is not None
        return float(torch.cosine_similarity(values[:-1], values[1:]).mean())

    assert likeness("walk") > 0.8 > 0.2 > abs(likeness("gaussian"))


def test_the_headline_is_the_papers_size() -> None:
    assert HEADLINE in SETTINGS
    assert (HEADLINE.num_items, HEADLINE.count, HEADLINE.channels) == (8256, 495, 128)


def test_candidates_are_the_same_in_every_run() -> None:
    first, second = TOY.candidates(CPU).features, TOY.candidates(CPU).features
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)
