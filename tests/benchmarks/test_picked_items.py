"""What is said of picked items agrees with hand-made cases, and the script with both."""

import math
from pathlib import Path

import pytest
import torch

from benchmarks import picked_items
from benchmarks.measuring.rows import all_rows, read_rows
from benchmarks.picked_items import rows_of
from benchmarks.trained_model.picked_proposals import Proposals
from benchmarks.trained_model.picked_snippets import Snippets
from tests.benchmarks.tiny import tiny_checkpoint

SHARES = ("foreground", "hard_negatives", "high_tiou", "short", "medium", "long")
DISTANCES = (("from_mean", "to_all"), ("to_nearest", "to_random"), ("to_farthest", "to_random"))
ACTION = torch.tensor([[0.5, 1.0]])
# Four snippets on a line, the last two of them foreground.
LINE = Snippets(torch.tensor([[0.0], [7.0], [8.0], [9.0]]), torch.ones(4), ACTION)


def snippets(num_items: int, *, seed: int) -> Snippets:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(num_items, 3, generator=generator)
    return Snippets(features, torch.rand(num_items, generator=generator), ACTION)


def proposals(num_snippets: int, *, gt_segments: torch.Tensor = ACTION) -> Proposals:
    features = torch.randn(num_snippets, 3, generator=torch.Generator().manual_seed(0))
    return Proposals(features, gt_segments, max_duration=num_snippets)


def test_snippets_on_a_line() -> None:
    assert LINE.is_foreground.tolist() == [False, False, True, True]
    # The nearest to the first is the second, which is background itself.
    assert LINE.is_hard_negative.tolist() == [False, True, False, False]
    found = LINE.measures(torch.tensor([1, 2]))
    assert found == {
        "foreground": 0.5,
        "hard_negatives": 0.5,
        "from_mean": pytest.approx((1 + 2) / 2),  # the mean is 6
        "to_nearest": pytest.approx((7 + 0 + 0 + 1) / 4),
        "to_farthest": pytest.approx(7),
    }


def test_snippet_is_where_its_centre_is() -> None:
    action = torch.tensor([[0.55, 0.8]])
    shown = Snippets(LINE.features, LINE.gradient_norm, action)
    assert shown.is_foreground.tolist() == [False, False, True, False]


def test_video_without_actions_is_background() -> None:
    none = torch.zeros(0, 2)
    quiet = Snippets(LINE.features, LINE.gradient_norm, none)
    assert not quiet.is_foreground.any()
    assert not quiet.is_hard_negative.any()
    assert proposals(4, gt_segments=none).tiou.tolist() == [0] * 10


def test_proposals_of_four_snippets() -> None:
    """Four of one snippet, three of two, two of three and one of four."""
    video = proposals(4)
    found = video.measures(torch.arange(10))
    assert found == pytest.approx({"high_tiou": 0.1, "short": 0.4, "medium": 0.3, "long": 0.3})
    # The proposal of the last two snippets is the action.
    assert video.tiou.argmax() == 6
    assert video.measures(torch.tensor([6]))["high_tiou"] == 1


@pytest.mark.parametrize("video", [snippets(20, seed=0), proposals(8)])
def test_every_strategy_picks_its_count(video: Snippets | Proposals) -> None:
    for strategy in video.strategies:
        index = video.pick(strategy, generator=torch.Generator().manual_seed(0))
        assert len(index.unique()) == video.count < video.num_items


def test_strategies_are_those_of_the_example() -> None:
    names = {kind: {type(s).__name__ for s in kind.strategies} for kind in (Snippets, Proposals)}
    both = {"Random", "Grid", "Block", "FarthestPoint", "DPP"}
    assert names[Snippets] == both | {"GradientNorm"}
    assert names[Proposals] == both | {"IoUBalanced", "ScaleBalanced"}


def test_rows_compare_with_all_items_and_with_random() -> None:
    videos = [snippets(20, seed=seed) for seed in range(6)]
    every, *rows = rows_of("snippets", videos, draws=40)
    assert every["measures"]["foreground"] == pytest.approx([0.5, 0.5, 0.5])
    assert every["measures"]["to_nearest"] == [0, 0, 0]
    by_name = {row["strategy"]: row for row in rows}
    at_random = by_name["Random"]
    assert at_random["to_all"]["foreground"] == pytest.approx([1, 1, 1], abs=0.1)
    assert at_random["to_all"]["to_nearest"] is None
    assert at_random["to_random"]["to_farthest"] == pytest.approx([1, 1, 1])
    low, value, high = by_name["FarthestPoint"]["to_random"]["to_farthest"]
    assert low < value < high < 0.95


def test_videos_are_drawn_from_independently() -> None:
    """With one seed for each, chance would look like a preference of the strategy."""
    _, row, *_ = rows_of("snippets", [snippets(20, seed=0)] * 6, draws=1)
    low, _, high = row["measures"]["foreground"]
    assert low < high


def test_balanced_strategies_do_what_they_are_for() -> None:
    rows = {row["strategy"]: row for row in rows_of("proposals", [proposals(20)] * 2, draws=5)}
    assert rows["ScaleBalanced"]["measures"]["long"][1] == pytest.approx(1 / 3, abs=0.1)
    assert rows["IoUBalanced"]["to_all"]["high_tiou"][1] > 2


def test_script_runs_at_toy_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--videos", "3", "--draws", "2", "--example", "0"]
    paths = ["--results", str(tmp_path / "rows.json"), "--pictures", str(tmp_path)]
    picked_items.main([str(tiny_checkpoint(tmp_path)), *sizes, *paths])
    rows = read_rows(tmp_path / "rows.json")
    assert len(rows) == (1 + 6) + (1 + 7) + 1
    assert all((tmp_path / f"picked_{name}.png").exists() for name in ("items", "features"))
    assert "| FarthestPoint |" in capsys.readouterr().out


def test_example_is_one_of_the_videos(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        picked_items.main(["--videos", "3", "--example", "3"])
    assert "--example 3: expected one of the 3 videos" in capsys.readouterr().err


def test_committed_rows_are_whole() -> None:
    rows = all_rows()["picked_items"]
    assert [row["what"] for row in rows].count("example") == 1
    for row in rows:
        if row["what"] != "example":
            intervals = list(row["measures"].values())
            intervals += [x for x in row.get("to_random", {}).values() if x is not None]
            assert all(math.isfinite(low) and low <= x <= high for low, x, high in intervals)
        assert not row["is_dirty"]


def test_committed_rows_say_what_the_document_says() -> None:
    rows = {(row["what"], row["strategy"]): row for row in all_rows()["picked_items"][:-1]}
    of_snippets = {name: row for (what, name), row in rows.items() if what == "snippets"}
    of_proposals = {name: row for (what, name), row in rows.items() if what == "proposals"}
    for name in ("Random", "Grid"):
        for row in (of_snippets[name], of_proposals[name]):
            shares = [row["to_all"][share] for share in SHARES if share in row["to_all"]]
            assert all(low - 0.01 <= 1 <= high + 0.01 for low, _, high in shares)
    assert 0.9 < of_snippets["Grid"]["to_random"]["to_nearest"][2] < 1
    assert of_snippets["Block"]["to_random"]["to_nearest"][1] == pytest.approx(2, abs=0.2)
    farthest, dpp = of_snippets["FarthestPoint"], of_snippets["DPP"]
    assert farthest["to_all"]["from_mean"][0] > 1
    assert farthest["measures"]["foreground"][1] == pytest.approx(0.6, abs=0.03)
    picked = dpp["count"] / dpp["num_items"]
    assert picked * farthest["to_all"]["hard_negatives"][1] > 0.9
    assert picked * dpp["to_all"]["hard_negatives"][2] < 0.5
    for measure, to in (*((share, "to_all") for share in SHARES[:2]), *DISTANCES):
        at_random, between, other = (
            of_snippets[name][to][measure][1] for name in ("Random", "DPP", "FarthestPoint")
        )
        assert 0 < (between - at_random) / (other - at_random) < 0.5
    assert of_snippets["GradientNorm"]["to_all"]["foreground"][0] > 1
    assert of_snippets["GradientNorm"]["measures"]["foreground"][1] == pytest.approx(0.5, abs=0.05)
    farthest, dpp = of_proposals["FarthestPoint"], of_proposals["DPP"]
    assert farthest["measures"]["short"][0] > 0.9
    assert farthest["measures"]["long"][2] < 0.01
    assert farthest["to_all"]["high_tiou"][2] < 1
    assert all(abs(dpp["to_all"][name][1] - 1) < 0.05 for name in ("short", "medium", "long"))
    assert of_proposals["IoUBalanced"]["measures"]["high_tiou"][2] < 1 / 3
    assert of_proposals["ScaleBalanced"]["to_all"]["high_tiou"][2] < 1
