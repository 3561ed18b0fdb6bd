"""Figures of results: mAP against the tIoU threshold, and the course of a training run."""

import os
from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.etad.evaluation.report import DetectionMetrics
from examples.etad.pictures.figure_file import check_figure_path, new_figure, save_figure

_COLOURS = ("#1f6fb4", "#d1495b", "#2e8b57", "#8e5ea2", "#c77d0a", "#555555")
_MARKERS = ("o", "s", "^", "D", "v", "P")
# Inches.
_PANEL, _PANEL_GAP, _PANEL_BOTTOM = 1.5, 0.16, 0.42


def plot_metrics(path: str | os.PathLike[str], metrics: Mapping[str, DetectionMetrics]) -> None:
    """Draw the mAP of one or more runs against the tIoU threshold.

    Args:
        path: File to write, .png, .pdf or .svg; replaced if it exists.
        metrics: Result of each run, by the name that the legend shows.

    Raises:
        ValueError: If there is no run or the suffix is unknown.
    """
    checked = check_figure_path("plot_metrics", path)
    if not metrics:
        raise ValueError("plot_metrics(metrics={}): expected the result of at least one run.")
    figure = new_figure(4.2, 3.0)
    axes = _axes(figure, (0.13, 0.15, 0.84, 0.81))
    for run, (name, result) in enumerate(metrics.items()):
        percent = [100 * value for value in result.map_per_tiou]
        axes.plot(
            result.tiou_thresholds,
            percent,
            color=_COLOURS[run % len(_COLOURS)],
            marker=_MARKERS[run % len(_MARKERS)],
            markersize=3.5,
            linewidth=1.3,
            label=f"{name}: average {100 * result.average_map:.2f} %".replace("$", r"\$"),
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tIoU threshold", fontsize=8)
    axes.set_ylabel("mAP (%)", fontsize=8)
    axes.legend(frameon=False, fontsize=7)
    save_figure(figure, checked)


def plot_training_curve(
    path: str | os.PathLike[str], history: Sequence[Mapping[str, float]]
) -> None:
    """Draw the loss and the average mAP of a training run over its steps.

    Args:
        path: File to write, .png, .pdf or .svg; replaced if it exists.
        history: Rows as they were logged: "step" with "loss", with "average_map" (a fraction), or
            with both. Other entries are not drawn.

    Raises:
        ValueError: If a row has no "step", there is neither a loss nor an average mAP, or the
            suffix is unknown.
    """
    checked = check_figure_path("plot_training_curve", path)
    for number, row in enumerate(history):
        if "step" not in row:
            raise ValueError(
                f"plot_training_curve(history=...): row {number} has no 'step', only "
                f"{sorted(row)}. Log the optimizer step with every value."
            )
    names = [name for name in _PANELS if any(name in row for row in history)]
    if not names:
        raise ValueError(
            f"plot_training_curve(history=...): expected 'loss' or 'average_map' in some row, got "
            f"neither in {len(history)} rows. There is nothing to draw."
        )
    height = _PANEL_BOTTOM + len(names) * (_PANEL + _PANEL_GAP)
    figure = new_figure(4.8, height)
    for place, name in enumerate(reversed(names)):
        bottom = (_PANEL_BOTTOM + place * (_PANEL + _PANEL_GAP)) / height
        axes = _axes(figure, (0.13, bottom, 0.84, _PANEL / height))
        _PANELS[name](axes, [(row["step"], row[name]) for row in history if name in row])
        axes.set_xlim(*_limits([row["step"] for row in history]))
        axes.tick_params(labelbottom=place == 0)
        if place == 0:
            axes.set_xlabel("step", fontsize=8)
    save_figure(figure, checked)


def _draw_loss(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    steps, losses = zip(*points, strict=True)
    window = max(1, len(losses) // 25)
    pale = 0.3 if window > 1 else 1.0
    axes.plot(steps, losses, color=_COLOURS[0], alpha=pale, linewidth=0.8, label="loss")
    if window > 1:
        label = f"mean of {2 * window + 1}"
        axes.plot(steps, _smooth(losses, window), color=_COLOURS[0], linewidth=1.4, label=label)
        axes.legend(frameon=False, fontsize=7)
    axes.set_ylabel("loss", fontsize=8)


def _draw_average_map(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    steps, fractions = zip(*points, strict=True)
    percent = [100 * fraction for fraction in fractions]
    axes.plot(steps, percent, color=_COLOURS[1], marker="o", markersize=3.5, linewidth=1.3)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("average mAP (%)", fontsize=8)


_PANELS = {"loss": _draw_loss, "average_map": _draw_average_map}


def _smooth(values: Sequence[float], reach: int) -> list[float]:
    """Return the mean over `reach` neighbours on either side, leaving out what is not finite."""
    finite = torch.tensor(values, dtype=torch.float64)
    finite[~finite.isfinite()] = torch.nan
    padded = torch.nn.functional.pad(finite, (reach, reach), value=torch.nan)
    return padded.unfold(0, 2 * reach + 1, 1).nanmean(dim=1).tolist()


def _limits(steps: Sequence[float]) -> tuple[float, float]:
    margin = 0.02 * (max(steps) - min(steps)) or 1.0
    return min(steps) - margin, max(steps) + margin


def _axes(figure: Figure, place: tuple[float, float, float, float]) -> Axes:
    axes = figure.add_axes(place)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7.5)
    return axes
