"""What is said of picked items agrees with hand-made cases, and the script with both."""

import sys
from pathlib import Path

import pytest
import torch
from matplotlib import colors
from matplotlib.figure import Figure

from benchmarks import picked_items, picked_pictures
from benchmarks.embedding import embed
from benchmarks.picked_items import example_of, rows_of
from benchmarks.picked_proposals import Proposals
from benchmarks.picked_snippets import Snippets
from benchmarks.rows import Row, read_rows
from examples.etad.checkpoint import save_checkpoint
from examples.etad.config_loading import load_config, override, to_dict
from examples.etad.model.etad import ETAD
from examples.etad.train import DEFAULT_CONFIG
from tests.etad.test_train import SETTINGS

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


def test_embedding_keeps_groups_together_and_is_repeatable() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 5, generator=generator)
    features[15:] += 20
    points = embed(features)
    assert torch.equal(points, embed(features))
    first, second = points[:15], points[15:]
    gap = (first.mean(dim=0) - second.mean(dim=0)).norm()
    assert gap > 2 * max(float((g - g.mean(dim=0)).norm(dim=1).max()) for g in (first, second))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn, in place of files."""
    figures: list[Figure] = []
    monkeypatch.setattr(picked_pictures, "save", lambda figure, path, dpi: figures.append(figure))
    return figures


@pytest.fixture(scope="module")
def example() -> Row:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(16, 3, generator=generator)
    shown = Snippets(features, torch.rand(16, generator=generator), ACTION)
    row = example_of(shown, Proposals(features, ACTION, max_duration=16))
    return {**row, "video_id": "toy", "duration_s": 8.0}


def test_maps_show_the_picked_proposals(example: Row, drawn: list[Figure]) -> None:
    picked_pictures.draw_picked([example], Path())
    maps = [axes for axes in drawn[0].axes if axes.get_images()]
    assert [axes.get_title() for axes in maps] == list(example["proposals"])
    high = set(example["high_tiou"])
    for axes, index in zip(maps, example["proposals"].values(), strict=True):
        (image,) = axes.get_images()
        kind = torch.from_numpy(image.get_array().filled(-1))[picked_pictures.valid_cells(example)]
        assert (kind >= 2).nonzero()[:, 0].tolist() == index
        assert set((kind % 2 == 1).nonzero()[:, 0].tolist()) == high


def test_time_lines_show_the_picked_snippets(example: Row, drawn: list[Figure]) -> None:
    picked_pictures.draw_picked([example], Path())
    axes = drawn[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(example["snippets"])
    bars = [c for c in axes.collections if colors.same_color(c.get_facecolor(), "black")]
    for bar, index in zip(bars, example["snippets"].values(), strict=True):
        # Snippets of half a second.
        starts_s = [float(path.vertices[:, 0].min()) for path in bar.get_paths()]
        assert [int(start_s / 0.5) for start_s in starts_s] == index


def test_points_show_the_picked_snippets(example: Row, drawn: list[Figure]) -> None:
    picked_pictures.draw_features([example], Path())
    for axes, (strategy, index) in zip(drawn[0].axes, example["snippets"].items(), strict=True):
        assert axes.get_title() == strategy
        outlined = [
            point
            for c in axes.collections
            for point in c.get_offsets().tolist()
            if colors.same_color(c.get_edgecolor(), "black")
        ]
        expected = [example["embedding"][item] for item in index]
        torch.testing.assert_close(sorted(outlined), sorted(expected))
        assert sum(len(c.get_offsets()) for c in axes.collections) == 16


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["picked_items.py", *arguments])
    picked_items.main()


def test_script_runs_at_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = override(
        load_config(DEFAULT_CONFIG), [*SETTINGS, f"data.render_folder={tmp_path / 'set'}"]
    )
    content = {"model": ETAD(config).state_dict(), "config": to_dict(config), "classes": []}
    save_checkpoint(tmp_path / "checkpoint.pt", content)
    sizes = ["--videos", "3", "--draws", "2", "--example", "0"]
    paths = ["--results", str(tmp_path / "rows.json"), "--pictures", str(tmp_path)]
    run(monkeypatch, str(tmp_path / "checkpoint.pt"), *sizes, *paths)
    rows = read_rows(tmp_path / "rows.json")
    assert len(rows) == (1 + 6) + (1 + 7) + 1
    assert all((tmp_path / f"picked_{name}.png").exists() for name in ("items", "features"))
    assert "| FarthestPoint |" in capsys.readouterr().out


def test_example_is_one_of_the_videos(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "--videos", "3", "--example", "3")
    assert "--example 3: expected one of the 3 videos" in capsys.readouterr().err
