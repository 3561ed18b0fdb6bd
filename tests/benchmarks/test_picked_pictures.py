"""The pictures show what was picked, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from matplotlib import colors, pyplot as plt
from matplotlib.figure import Figure

from benchmarks.measuring.rows import Row
from benchmarks.picked_items import example_of
from benchmarks.report import picked_pictures
from benchmarks.trained_model.embedding import embed
from benchmarks.trained_model.picked_proposals import Proposals
from benchmarks.trained_model.picked_snippets import Snippets

ACTION = torch.tensor([[0.5, 1.0]])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The figures that are drawn, in place of files."""
    figures: list[Figure] = []
    monkeypatch.setattr(picked_pictures, "save", lambda figure, path, dpi: figures.append(figure))
    yield figures
    for figure in figures:
        plt.close(figure)


@pytest.fixture(scope="module")
def example() -> Row:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(16, 3, generator=generator)
    shown = Snippets(features, torch.rand(16, generator=generator), ACTION)
    row = example_of(shown, Proposals(features, ACTION, max_duration=16))
    return {**row, "video_id": "toy", "duration_s": 8.0}


def test_example_knows_the_proposals_that_fit(example: Row) -> None:
    """The action is the second half of 16 snippets."""
    cells = [(start, start + long) for long in range(1, 17) for start in range(17 - long)]
    overlap = [max(0, end - max(start, 8)) for start, end in cells]
    fitting = [
        position
        for position, ((start, end), common) in enumerate(zip(cells, overlap, strict=True))
        if common / (8 + end - start - common) >= 0.7
    ]
    assert example["high_tiou"] == fitting


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


def test_embedding_keeps_groups_together_and_is_repeatable() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 5, generator=generator)
    features[15:] += 20
    points = embed(features)
    assert torch.equal(points, embed(features))
    first, second = points[:15], points[15:]
    gap = (first.mean(dim=0) - second.mean(dim=0)).norm()
    assert gap > 2 * max(float((g - g.mean(dim=0)).norm(dim=1).max()) for g in (first, second))
