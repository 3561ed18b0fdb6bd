"""A picture of memory against the number of items, for each method."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sgs.planning.byte_size import readable_bytes
from sgs.planning.command_line.report import TITLES, Report
from sgs.planning.command_line.training_step import SMALLEST

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"naive": "#D55E00", "checkpointed": "#B8860B", "sgs": "#0072B2"}
GREY = "#444444"
MARGIN = 0.1
SUFFIXES = (".pdf", ".png", ".svg")
# The smallest distance of two labels, as a fraction of the height.
LABEL_DISTANCE = 0.05

Points = list[tuple[int, int]]


def check_picture(path: Path) -> None:
    """Refuse a picture that cannot be drawn, before the estimates are made.

    Raises:
        ArgumentTypeError: If matplotlib is not installed, or there is no such folder or format.
    """
    if find_spec("matplotlib") is None:
        raise ArgumentTypeError(
            "a picture needs matplotlib, which is not installed. Install it with `pip install "
            "matplotlib`, or omit --picture."
        )
    if path.suffix not in SUFFIXES or not path.absolute().parent.is_dir():
        raise ArgumentTypeError(
            f"the picture {str(path)!r}: expected a file in an existing folder whose name ends in "
            f"one of {SUFFIXES}."
        )


def draw(report: Report, path: Path) -> None:
    """Draw the peak memory of each method against the number of items.

    The lines have the planned micro-batch sizes and no kept graphs; a star marks the plan itself.

    Args:
        report: The plan and the estimates.
        path: The file to write; an existing one is overwritten.
    """
    from matplotlib.figure import Figure

    lines = {name: points(report, name) for name in TITLES}
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for name, line in lines.items():
        axes.plot(*zip(*line, strict=True), "o-", markersize=3.5, color=COLOURS[name])
    _draw_budget(axes, report)
    if report.plan is not None:
        planned = report.plan.estimate
        point = planned.num_items, planned.peak_bytes
        axes.plot(*([x] for x in point), "*", markersize=14, color=COLOURS["sgs"], zorder=3)
    _write(axes, _labels(report, lines))
    axes.set_title(f"Peak memory of a training step: {report.step} (estimated)", fontsize=10)
    axes.set_xlabel("items per step")
    axes.set_xticks([count for count, _ in lines["sgs"]])
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.yaxis.set_major_formatter(lambda y, _: readable_bytes(round(y)))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def points(report: Report, method: str) -> Points:
    """Return numbers of items, and the peak bytes with each."""
    step = report.step
    powers = [4**i for i in range(step.num_items.bit_length())]
    # Labels of closer points would overlap.
    apart = [x for x in powers if 1.5 * x < step.num_items]
    # Kept graphs would hide that memory is constant, and an estimate runs each of them.
    sizes = replace(report.plan or SMALLEST, kept_graphs=0)
    estimates = [
        step.estimate(method, sizes, num_items=count) for count in [*apart, step.num_items]
    ]
    return [(x.num_items, x.peak_bytes) for x in estimates]


def _draw_budget(axes: Axes, report: Report) -> None:
    """Draw the budget as a line, and its margin as a band below it."""
    budget = report.step.budget
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


def _labels(report: Report, lines: dict[str, Points]) -> list[tuple[str, str, int]]:
    """Return the texts of labels, their colours, and the bytes at which they stand."""
    ends = {name: line[-1][1] for name, line in lines.items()}
    labels = [(TITLES[name], COLOURS[name], peak) for name, peak in ends.items()]
    plan = report.plan
    if plan is not None and plan.kept_graphs:
        planned = f"★ SGS, kept_graphs={plan.kept_graphs}"
        labels.append((planned, COLOURS["sgs"], plan.estimate.peak_bytes))
    return sorted(labels, key=lambda label: label[2])


def _write(axes: Axes, labels: list[tuple[str, str, int]]) -> None:
    """Write labels beside the ends of the lines, without overlap."""
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
