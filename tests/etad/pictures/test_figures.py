"""Figures: what is drawn, and that a file is written whole or not at all."""

import doctest
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from examples.etad.evaluation.average_precision import DetectionMetrics
from examples.etad.pictures import curves, figure_text, time_axis, timeline
from examples.etad.pictures.curves import plot_metrics, plot_training_curve
from examples.etad.pictures.figure_file import save_figure
from examples.etad.pictures.time_axis import format_time
from examples.etad.pictures.timeline import plot_timeline
from examples.etad.pictures.timeline_bars import COLOUR_MAP, Lane, arrange_lanes, choose_colours
from examples.etad.segments import Detections, GroundTruth

# The last one is an error if it is taken for mathematics.
CLASSES = ("jump", "run", r"$\throw$")
SIGNATURES = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}
Drawn = Callable[..., Figure]


def instances(*rows: tuple[float, float, int]) -> GroundTruth:
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)
    return GroundTruth(table[:, :2], table[:, 2].long())


def found(*rows: tuple[float, float, float, int]) -> Detections:
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)
    return Detections(table[:, :2], table[:, 2], table[:, 3].long())


TRUTH = instances((10, 30, 0), (50, 90, 1))
FOUND = found((12, 30, 0.9, 0), (50, 92, 0.0002, 1), (10, 30, 0.4, 2), (0, 5, 0.1, 0))


def metrics(*map_per_tiou: float) -> DetectionMetrics:
    return DetectionMetrics(
        tiou_thresholds=tuple(0.5 + 0.1 * k for k in range(len(map_per_tiou))),
        map_per_tiou=map_per_tiou,
        average_map=sum(map_per_tiou) / len(map_per_tiou),
        ap_per_class={"jump": map_per_tiou},
        classes_without_ground_truth=(),
        num_videos=1,
        num_instances=1,
        num_detections=1,
        num_ignored_detections=0,
        videos_without_ground_truth=(),
        videos_without_detections=(),
    )


def draw_timeline(path: Path, **options: Any) -> None:
    arguments: dict[str, Any] = {
        "video_id": r"v_$\a$",
        "duration_s": 100.0,
        "detections": FOUND,
        "ground_truth": TRUTH,
        "startness": torch.linspace(0, 1, 8),
        "endness": torch.linspace(1, 0, 8),
        "class_names": CLASSES,
    }
    plot_timeline(path, **(arguments | options))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Drawn:
    """Draw a timeline and return its figure, laid out, without writing a file."""
    figures: list[Figure] = []
    monkeypatch.setattr(timeline, "save_figure", lambda figure, path: figures.append(figure))

    def draw(**options: Any) -> Figure:
        draw_timeline(tmp_path / "timeline.png", **options)
        figures[-1].draw_without_rendering()
        return figures[-1]

    return draw


def rows_axes(figure: Figure) -> Axes:
    return figure.axes[0]


def bars(figure: Figure) -> list[Rectangle]:
    """The detections, best first."""
    found_bars = [
        p for p in rows_axes(figure).patches if isinstance(p, Rectangle) and p.get_y() < 0
    ]
    return [bar for bar in found_bars if bar.get_height() < 1]


def texts(figure: Figure) -> list[str]:
    everything = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return [text.get_text() for text in everything]


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_the_suffix_chooses_the_format_and_the_same_picture_has_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
):
    for hour, name in enumerate(("first", "second")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(3600 * hour))
        draw_timeline(tmp_path / f"{name}{suffix}")
    first, second = (tmp_path / f"{name}{suffix}" for name in ("first", "second"))
    assert first.read_bytes().startswith(SIGNATURES[suffix])
    assert first.read_bytes() == second.read_bytes()
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_missing_folders_are_made_and_an_old_file_is_replaced(tmp_path: Path):
    path = tmp_path / "new" / "folder" / "metrics.PNG"
    plot_metrics(path, {"ours": metrics(0.5, 0.2)})
    before = path.read_bytes()
    plot_metrics(path, {"ours": metrics(0.6, 0.2)})
    assert path.read_bytes() != before


def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def write_half(self: Figure, target: Path, **_: Any) -> None:
        Path(target).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", write_half)
    with pytest.raises(OSError, match="disk full"):
        save_figure(Figure(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_drawing_leaves_no_trace_in_matplotlib(tmp_path: Path):
    settings = dict(mpl.rcParams)
    draw_timeline(tmp_path / "timeline.pdf")
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == settings


def test_pdf_embeds_truetype_fonts(tmp_path: Path):
    draw_timeline(tmp_path / "timeline.pdf")
    content = (tmp_path / "timeline.pdf").read_bytes()
    assert b"/Type3" not in content
    assert b"/FontFile2" in content


def test_names_in_other_scripts_are_drawn_without_a_warning(tmp_path: Path):
    draw_timeline(tmp_path / "timeline.png", video_id="跳远", class_names=("跳远", "a", "b"))


def test_detections_are_drawn_best_first_with_class_and_score(drawn: Drawn):
    figure = drawn()
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars(figure)]
    assert spans == [(12, 30), (10, 30), (0, 5), (50, 92)]
    tops = [bar.get_y() for bar in bars(figure)]
    assert tops == sorted(tops, reverse=True)
    labels = [text.get_text() for text in rows_axes(figure).texts]
    # The two instances from the lowest row up, then class and score of every detection.
    assert labels == [
        *("run", "jump"),
        *("jump", "0.900"),
        *(CLASSES[2], "0.400"),
        *("jump", "0.100"),
        *("run", "2e-04"),
    ]


def test_colour_is_the_best_tiou_and_another_class_is_hollow(drawn: Drawn):
    figure = drawn()
    expected = [18 / 20, 1.0, 0.0, 40 / 42]
    assert [bar.get_edgecolor() for bar in bars(figure)] == [COLOUR_MAP(v) for v in expected]
    hollow = [bar.get_facecolor() == to_rgba("white") for bar in bars(figure)]
    assert hollow == [False, True, False, False]
    assert any("hollow: other class" in text for text in texts(figure))
    assert figure.axes[1].get_ylabel() == "best tIoU with the ground truth"


def test_without_classes_no_detection_has_a_name_and_none_is_hollow(drawn: Drawn):
    named = Detections(FOUND.segments_s, FOUND.scores, FOUND.labels + 7)
    figure = drawn(detections=named, class_agnostic=True)
    assert not any(bar.get_facecolor() == to_rgba("white") for bar in bars(figure))
    assert not any("hollow" in text for text in texts(figure))
    labels = [text.get_text() for text in rows_axes(figure).texts]
    assert labels == ["run", "jump", "", "0.900", "", "0.400", "", "0.100", "", "2e-04"]


def test_class_of_one_of_two_equal_instances_is_not_another_class():
    twins = instances((10, 30, 0), (10, 30, 1))
    colouring = choose_colours(
        found((10, 30, 0.5, 1), (10, 30, 0.5, 2)), twins, class_agnostic=False
    )
    assert colouring.other_class.tolist() == [False, True]


@pytest.mark.parametrize("ground_truth", [None, instances()])
def test_without_instances_the_colour_is_the_score(drawn: Drawn, ground_truth: GroundTruth | None):
    figure = drawn(ground_truth=ground_truth)
    shares = [0.9 / 0.9, 0.4 / 0.9, 0.1 / 0.9, 0.0002 / 0.9]
    assert [bar.get_facecolor() for bar in bars(figure)] == [COLOUR_MAP(share) for share in shares]
    assert ("no annotated instance" in texts(figure)) == (ground_truth is not None)
    assert not any("hollow" in text for text in texts(figure))


@pytest.mark.parametrize("scores", [(0.0, 0.0), (-2.0, -1.0), (3.0, 7.0)])
def test_any_scores_can_be_coloured(scores: tuple[float, float]):
    colouring = choose_colours(
        found((0, 1, scores[0], 0), (0, 1, scores[1], 0)), None, class_agnostic=False
    )
    shares = [float(colouring.norm(value)) for value in colouring.values.tolist()]
    assert colouring.norm.vmin < colouring.norm.vmax
    assert all(0 <= share <= 1 for share in shares)
    assert shares == sorted(shares)


def test_only_the_top_detections_are_drawn(drawn: Drawn):
    figure = drawn(top=2)
    assert len(bars(figure)) == 2
    assert any("top 2 of 4 detections" in text for text in texts(figure))


def test_a_video_without_detections_says_so(drawn: Drawn):
    figure = drawn(detections=found(), startness=None, endness=None)
    assert "no detections" in texts(figure)
    assert len(figure.axes) == 1


def test_curves_are_drawn_only_where_given(drawn: Drawn):
    assert len(drawn(startness=None, endness=None).axes) == 2
    figure = drawn(startness=None)
    assert len(figure.axes) == 3
    assert "endness" in texts(figure)
    assert "startness" not in texts(figure)
    assert figure.axes[2].get_xlim() == (0, 100)


def test_no_text_leaves_the_figure_or_covers_another(drawn: Drawn):
    """The worst case: the longest names, the most remarks, a long title."""
    figure = drawn(
        video_id="W" * 60,
        class_names=("m" * 60, "Playing beach volleyball again and again", "other"),
        duration_s=5400.0,
    )
    renderer = figure.canvas.get_renderer()
    width, height = figure.bbox.width, figure.bbox.height
    boxes = [
        text.get_window_extent(renderer)
        for text in [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
        if text.get_text()
    ]
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
    overlaps = [
        (a, b)
        for i, a in enumerate(boxes)
        for b in boxes[:i]
        if a.padded(-2).overlaps(b.padded(-2))
    ]
    assert not overlaps
    for title in figure.texts:
        extent = title.get_window_extent(renderer)
        assert not any(extent.overlaps(axes.bbox) for axes in figure.axes)


def test_lanes_hold_every_instance_and_none_touches_another(generator: torch.Generator):
    starts = torch.rand(40, generator=generator) * 100
    segments = torch.stack([starts, starts + 20 * torch.rand(40, generator=generator)], dim=1)
    labels = torch.randint(0, 3, (40,), generator=generator)
    lanes = arrange_lanes(GroundTruth(segments, labels), CLASSES)
    drawn_spans = sorted(span for lane in lanes for span in lane.spans_s)
    assert drawn_spans == sorted(map(tuple, segments.tolist()))
    for lane in lanes:
        for (_, end_s), (start_s, _) in zip(lane.spans_s, lane.spans_s[1:], strict=False):
            assert end_s < start_s
    assert [lane.name for lane in lanes if lane.name] == list(CLASSES)


def test_touching_instances_get_two_lanes_and_one_name():
    lanes = arrange_lanes(instances((0, 10, 1), (10, 20, 1), (21, 30, 1)), CLASSES)
    assert lanes == [Lane("run", [(0, 10), (21, 30)]), Lane("", [(10, 20)])]


@pytest.mark.parametrize(
    ("duration_s", "label", "last"),
    [
        (0.4, "time (s)", "0.40"),
        (90.0, "time (s)", "90"),
        (600.0, "time (min:s)", "10:00"),
        (3600.0, "time (h:min:s)", "1:00:00"),
        (400_000.0, "time (h:min:s)", None),
    ],
)
def test_time_axis_has_few_ticks_at_readable_times(
    drawn: Drawn, duration_s: float, label: str, last: str | None
):
    axes = rows_axes(drawn(duration_s=duration_s))
    assert axes.get_xlabel() == label
    assert axes.get_xlim() == (0, duration_s)
    shown = [
        tick.get_text()
        for tick, place in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
        if 0 <= place <= duration_s
    ]
    assert 3 <= len(shown) <= 11
    assert last is None or shown[-1] == last


def test_times_are_written_with_two_digits():
    assert format_time(59.6, with_hours=False) == "1:00"
    assert format_time(3605, with_hours=True) == "1:00:05"


def test_map_is_drawn_in_percent_for_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    figures: list[Figure] = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: figures.append(figure))
    plot_metrics(tmp_path / "a.png", {"ours": metrics(0.5, 0.25), r"$\x$": metrics(0.4, 0.2)})
    figures[0].draw_without_rendering()
    (axes,) = figures[0].axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[50, 25], [40, 20]]
    assert "ours: average 37.50 %" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_training_curve_has_one_panel_per_quantity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    figures: list[Figure] = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: figures.append(figure))
    history = [{"step": k, "loss": 2.0 - k / 10, "rate": 1e-3} for k in range(10)]
    history.append({"step": 9, "average_map": 0.25})
    plot_training_curve(tmp_path / "a.png", history)
    by_label = {axes.get_ylabel(): axes for axes in figures[0].axes}
    assert list(by_label) == ["average mAP (%)", "loss"]
    assert by_label["average mAP (%)"].lines[0].get_ydata().tolist() == [25.0]
    assert by_label["loss"].lines[0].get_ydata().tolist() == [row["loss"] for row in history[:10]]
    plot_training_curve(tmp_path / "b.png", history[:10])
    assert len(figures[1].axes) == 1


def test_a_long_loss_curve_is_smoothed_over_finite_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    figures: list[Figure] = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: figures.append(figure))
    losses = [float(k) for k in range(50)]
    losses[10] = math.inf
    plot_training_curve(
        tmp_path / "a.png", [{"step": k, "loss": loss} for k, loss in enumerate(losses)]
    )
    smooth = figures[0].axes[0].lines[1].get_ydata().tolist()
    # Two neighbours on either side, as far as they exist.
    assert smooth[0] == 1.0
    assert smooth[30] == 30.0
    assert smooth[10] == 10.0
    assert smooth[12] == pytest.approx((11 + 12 + 13 + 14) / 4)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_diverged_run_is_drawn_without_a_warning(tmp_path: Path, loss: float):
    plot_training_curve(tmp_path / "a.png", [{"step": k, "loss": loss} for k in range(60)])
    plot_training_curve(tmp_path / "b.png", [{"step": 0, "loss": loss}])
    assert (tmp_path / "b.png").stat().st_size > 0


def test_examples_in_the_docstrings_run():
    assert doctest.testmod(time_axis) == (0, 1)
    assert doctest.testmod(figure_text) == (0, 1)


@pytest.mark.parametrize("name", ["figure.jpg", "figure"])
def test_unknown_suffix_is_rejected(tmp_path: Path, name: str):
    path = tmp_path / name
    message = r"path='.*'\): expected a name ending in one of \.png, \.pdf, \.svg, got '(\.jpg)?'"
    with pytest.raises(ValueError, match=rf"plot_timeline\({message}"):
        draw_timeline(path)
    with pytest.raises(ValueError, match=rf"plot_metrics\({message}"):
        plot_metrics(path, {"ours": metrics(0.5)})
    with pytest.raises(ValueError, match=rf"plot_training_curve\({message}"):
        plot_training_curve(path, [{"step": 0, "loss": 1.0}])


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"duration_s": 0.0}, r"duration_s=0.0\): expected the length of the video"),
        ({"duration_s": math.nan}, r"duration_s=nan\): expected the length of the video"),
        ({"startness": torch.zeros(1, 8)}, r"startness=.*shape \[snippets\], got \[1, 8\]"),
        ({"endness": torch.zeros(0)}, r"endness=.*shape \[snippets\], got \[0\]"),
        ({"top": 0}, r"top=0\): expected at least 1"),
        ({"class_names": ("a", "b")}, r"detections=.*label 2 has no name.*below 2"),
        (
            {"class_names": ("a",), "detections": found()},
            r"ground_truth=.*label 1 has no name.*below 1",
        ),
    ],
)
def test_bad_timelines_are_rejected(tmp_path: Path, replaced: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=rf"plot_timeline\({message}"):
        draw_timeline(tmp_path / "a.png", **replaced)


def test_nothing_to_draw_is_rejected(tmp_path: Path):
    with pytest.raises(ValueError, match=r"plot_metrics\(metrics=\{\}\): expected the result of"):
        plot_metrics(tmp_path / "a.png", {})
    with pytest.raises(ValueError, match=r"history=.*row 1 has no 'step', only \['loss'\]"):
        plot_training_curve(tmp_path / "a.png", [{"step": 0, "loss": 1.0}, {"loss": 1.0}])
    with pytest.raises(ValueError, match=r"history=.*expected 'loss' or 'average_map'.*in 1 rows"):
        plot_training_curve(tmp_path / "a.png", [{"step": 0}])
