"""A picture of memory against the number of items, for each method."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sgs.planning.byte_size import readable_bytes
from sgs.planning.command_line.answer import TITLES, Answer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"naive": "#D55E00", "checkpointed": "#B8860B", "sgs": "#0072B2"}
GREY = "#444444"
MARGIN = 0.1
SUFFIXES = (".pdf", ".png", ".svg")
# The least distance of two labels, as a fraction of the height.
LABEL_DISTANCE = 0.05

Points = list[tuple[int, int]]


def check_picture(path: Path) -> None:
    """Refuse a picture that could not be drawn in the end.

    Raises:
        ArgumentTypeError: If matplotlib is not installed, or there is no such folder or format.
    """
    if find_spec("matplotlib") is None:
        raise ArgumentTypeError(
            "a picture needs matplotlib, which is not installed. Install it with `pip install "
            "matplotlib`, or leave the picture away."
        )
    if path.suffix not in SUFFIXES or not path.absolute().parent.is_dir():
        raise ArgumentTypeError(
            f"the picture {str(path)!r}: expected a file in an existing folder whose name ends in "
            f"one of {SUFFIXES}."
        )


def draw(answer: Answer, path: Path) -> None:
    """Draw the peak memory of each method against the number of items.

    Micro-batches are as planned. Along the lines no graphs are kept; a star marks the plan itself.

    Args:
        answer: What was found.
        path: Where the picture is written; overwritten.
    """
    from matplotlib.figure import Figure

    lines = {name: points(answer, name) for name in TITLES}
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for name, line in lines.items():
        axes.plot(*zip(*line, strict=True), "o-", markersize=3.5, color=COLOURS[name])
    _draw_budget(axes, answer)
    if answer.found is not None:
        point = answer.found.estimate.num_items, answer.found.estimate.peak_bytes
        axes.plot(*([x] for x in point), "*", markersize=14, color=COLOURS["sgs"], zorder=3)
    _write(axes, _labels(answer, lines))
    axes.set_title(f"Peak memory of a training step: {answer.question} (estimated)", fontsize=10)
    axes.set_xlabel("items per step")
    axes.set_xticks([count for count, _ in lines["sgs"]])
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.yaxis.set_major_formatter(lambda y, _: readable_bytes(round(y)))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def points(answer: Answer, method: str) -> Points:
    """Return numbers of items, and the peak with each."""
    question = answer.question
    asked = question.num_items
    powers = [4**i for i in range(asked.bit_length())]
    # Two points so close could not both be labelled.
    apart = [x for x in powers if 1.5 * x < asked]
    # Kept graphs are each computed, and would hide that memory is constant.
    found = answer.found and replace(answer.found, kept_graphs=0)
    estimates = [
        question.estimate(method, found=found, num_items=count) for count in [*apart, asked]
    ]
    return [(x.num_items, x.peak_bytes) for x in estimates]


def _draw_budget(axes: Axes, answer: Answer) -> None:
    """Draw the budget, and its margin as a band below."""
    budget = answer.question.budget
    axes.axhline(budget, color=GREY, linestyle="--", linewidth=1)
    axes.axhspan((1 - MARGIN) * budget, budget, color=GREY, alpha=0.15, linewidth=0)
    axes.annotate(
        f"budget: {readable_bytes(budget)}",
        (0.01, budget),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        color=GREY,
    )


def _labels(answer: Answer, lines: dict[str, Points]) -> list[tuple[str, str, int]]:
    """Return texts, their colours, and the bytes that they belong to."""
    ends = {name: line[-1][1] for name, line in lines.items()}
    found = [(TITLES[name], COLOURS[name], peak) for name, peak in ends.items()]
    if answer.found is not None and answer.found.kept_graphs:
        planned = f"★ SGS, kept_graphs={answer.found.kept_graphs}"
        found.append((planned, COLOURS["sgs"], answer.found.estimate.peak_bytes))
    return sorted(found, key=lambda label: label[2])


def _write(axes: Axes, labels: list[tuple[str, str, int]]) -> None:
    """Write labels beside the ends of the lines, none over another."""
    low, high = (math.log(limit) for limit in axes.get_ylim())
    free = -math.inf
    for text, colour, peak in labels:
        height = max((math.log(peak) - low) / (high - low), free)
        free = height + LABEL_DISTANCE
        axes.annotate(
            f"{text}: {readable_bytes(peak)}",
            (1.02, height),
            xycoords="axes fraction",
            va="center",
            color=colour,
            annotation_clip=False,
        )
