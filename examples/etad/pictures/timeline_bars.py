"""Draw one video on its time axis: ground truth above a line, detections below it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from torch import Tensor

from aps.tiou import pairwise_tiou
from examples.etad.pictures.figure_text import shorten
from examples.etad.segments import Detections, GroundTruth

COLOUR_MAP = colormaps["viridis"]
NAME_WIDTH_INCH = 1.45
SMALL = 6.5
QUIET = "0.4"
_CURVE_COLOURS = {"startness": "#1f6fb4", "endness": "#d1495b"}
_BAR_HEIGHT = 0.74


class Lane(NamedTuple):
    """Instances of one class that do not touch, drawn in one row."""

    name: str
    spans_s: list[tuple[float, float]]


class Colouring(NamedTuple):
    """The colours of the detections and their meaning."""

    meaning: str
    values: Float[Tensor, " detections"]
    norm: Normalize
    other_class: Bool[Tensor, " detections"]


def arrange_lanes(ground_truth: GroundTruth, class_names: Sequence[str]) -> list[Lane]:
    """Distribute the instances over rows: by class, then so that none touches another."""
    lanes: list[Lane] = []
    for label in ground_truth.labels.unique().tolist():
        spans = ground_truth.segments_s[ground_truth.labels == label].tolist()
        own: list[Lane] = []
        for start_s, end_s in sorted(spans):
            lane = next((lane for lane in own if lane.spans_s[-1][1] < start_s), None)
            if lane is None:
                lane = Lane("" if own else class_names[label], [])
                own.append(lane)
            lane.spans_s.append((start_s, end_s))
        lanes += own
    return lanes


def choose_colours(
    detections: Detections, ground_truth: GroundTruth | None, *, class_agnostic: bool
) -> Colouring:
    """Colour by the best tIoU with an instance of any class, or by score if there is none."""
    if ground_truth is None or not len(ground_truth):
        scores = detections.scores.cpu().double()
        limits = torch.cat([scores, scores.new_zeros(1)])
        norm = Normalize(float(limits.min()), float(limits.max()) or 1.0)
        return Colouring("score", scores, norm, torch.zeros(len(scores), dtype=torch.bool))
    tiou = pairwise_tiou(
        detections.segments_s.cpu().double(), ground_truth.segments_s.cpu().double()
    )
    same_class = detections.labels.cpu()[:, None] == ground_truth.labels.cpu()[None]
    same_class |= class_agnostic
    best = tiou.amax(dim=1)
    other_class = (tiou * same_class).amax(dim=1) < best
    return Colouring("best tIoU with the ground truth", best, Normalize(0, 1), other_class)


def draw_curves(
    axes: Axes, curves: dict[str, Float[Tensor, " snippets"]], *, duration_s: float
) -> None:
    """Draw probabilities per snippet; every snippet covers its part of the time axis."""
    for place, (name, probability) in enumerate(curves.items()):
        borders = torch.linspace(0, duration_s, len(probability) + 1)
        colour, values = _CURVE_COLOURS[name], probability.detach().cpu().double().tolist()
        axes.stairs(values, borders.tolist(), fill=True, color=colour, alpha=0.15, linewidth=0)
        axes.stairs(values, borders.tolist(), color=colour, linewidth=0.9)
        _text(axes, 1.012, 0.75 - 0.3 * place, name, colour=colour, align="left")
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 0.5, 1])
    axes.tick_params(labelsize=SMALL, labelbottom=False, length=2)
    axes.spines[["top", "right"]].set_visible(False)


def draw_lanes(axes: Axes, lanes: Sequence[Lane]) -> None:
    """Draw the instances in black, the first lane at the top."""
    for row, lane in enumerate(reversed(lanes), start=1):
        spans = [(start_s, end_s - start_s) for start_s, end_s in lane.spans_s]
        axes.broken_barh(
            spans,
            (row - _BAR_HEIGHT / 2, _BAR_HEIGHT),
            facecolor="black",
            edgecolor="black",
            linewidth=0.4,
        )
        _label_row(axes, row, lane.name, colour="black")


def shade(axes: Axes, lanes: Sequence[Lane]) -> None:
    """Shade the time of every instance, to compare with what lies below."""
    for lane in lanes:
        for start_s, end_s in lane.spans_s:
            axes.axvspan(start_s, end_s, color="0.93", linewidth=0, zorder=0)


def draw_bars(
    axes: Axes, detections: Detections, *, colouring: Colouring, names: Sequence[str]
) -> None:
    """Draw the detections downwards in the order given, with name and score beside each."""
    rows = zip(
        detections.segments_s.tolist(),
        detections.scores.tolist(),
        names,
        colouring.values.tolist(),
        colouring.other_class.tolist(),
        strict=True,
    )
    for row, ((start_s, end_s), score, name, value, other_class) in enumerate(rows, start=1):
        colour = COLOUR_MAP(colouring.norm(value))
        axes.barh(
            -row,
            end_s - start_s,
            left=start_s,
            height=_BAR_HEIGHT,
            facecolor="white" if other_class else colour,
            edgecolor=colour,
            linewidth=1.0,
            zorder=2,
        )
        _label_row(axes, -row, name, colour=QUIET)
        _text(axes, 1.012, -row, _format_score(score), colour=QUIET, align="left")


def remark(axes: Axes, row: float, text: str) -> None:
    """Write a remark in the middle of a row."""
    axes.text(
        0.5,
        row,
        text,
        transform=axes.get_yaxis_transform(),
        ha="center",
        va="center",
        fontsize=SMALL + 1,
        style="italic",
        color=QUIET,
    )


def _label_row(axes: Axes, row: float, name: str, *, colour: str) -> None:
    _text(
        axes, -0.012, row, shorten(name, NAME_WIDTH_INCH, size=SMALL), colour=colour, align="right"
    )


def _text(axes: Axes, x: float, row: float, text: str, *, colour: str, align: str) -> None:
    axes.text(
        x,
        row,
        text,
        transform=axes.get_yaxis_transform(),
        ha=align,
        va="center_baseline",
        fontsize=SMALL,
        color=colour,
        parse_math=False,
    )


def _format_score(score: float) -> str:
    return f"{score:.3f}" if abs(score) >= 0.0005 or score == 0 else f"{score:.0e}"
