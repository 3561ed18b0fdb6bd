"""Pictures of the items that each strategy picks, as in Fig. 3 and the supplement's Fig. 2."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from aps import proposal_map
from benchmarks.measuring.rows import Row
from benchmarks.report.pictures import save

# From the palette of Okabe and Ito, which colour-blind readers can tell apart.
ACTION, BACKGROUND, PICKED = "#e69f00", "#56b4e9", "black"
PALE_ACTION, PICKED_ACTION, OTHER = "#fbe3b0", "#0072b2", "0.88"
DPI = 120
# (name in the row, colour, marker, label)
KINDS = (
    ("background", BACKGROUND, "s", "background"),
    ("hard_negatives", BACKGROUND, "^", "hard negative (background nearest to an action)"),
    ("foreground", ACTION, "o", "action"),
)


def draw_picked(rows: Sequence[Row], path: Path) -> None:
    """Draw the picked snippets along time, and the picked cells of the map."""
    example = _example(rows)
    figure = plt.figure(figsize=(9, 8.4), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=(0.36, 0.64))
    _draw_time(figure.add_subfigure(grid[0]), example)
    _draw_maps(figure.add_subfigure(grid[1]), example)
    save(figure, path, dpi=DPI)


def draw_features(rows: Sequence[Row], path: Path) -> None:
    """Draw the snippets by their features and mark the picked ones."""
    example = _example(rows)
    figure, all_axes = plt.subplots(
        2, 3, figsize=(9, 6.4), layout="constrained", sharex=True, sharey=True
    )
    for axes, (strategy, index) in zip(all_axes.flat, example["snippets"].items(), strict=True):
        _draw_points(axes, example, set(index))
        axes.set_title(strategy, fontsize="medium")
        # The axes of a t-SNE have no unit: only distances between neighbours mean anything.
        axes.set(xticks=[], yticks=[])
    for axes in all_axes[:, 0]:
        axes.set_ylabel("t-SNE, second axis", fontsize="small")
    for axes in all_axes[-1]:
        axes.set_xlabel("t-SNE, first axis", fontsize="small")
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=label)
        for _, colour, marker, label in KINDS
    ]
    handles.append(
        Line2D([], [], linestyle="", marker="o", color="white", mec=PICKED, mew=1.6, label="picked")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    save(figure, path, dpi=DPI)


def _example(rows: Sequence[Row]) -> Row:
    (example,) = [row for row in rows if row["what"] == "example"]
    return example


def _draw_time(figure: SubFigure, example: Row) -> None:
    duration_s, num_snippets = example["duration_s"], example["num_snippets"]
    axes = figure.subplots()
    for start, end in example["gt_segments"]:
        axes.axvspan(start * duration_s, end * duration_s, color=PALE_ACTION, linewidth=0, zorder=0)
    width = duration_s / num_snippets
    for row, index in enumerate(example["snippets"].values()):
        for picked, colour in ((False, OTHER), (True, PICKED)):
            items = [item for item in range(num_snippets) if (item in index) == picked]
            spans = [((item + 0.15) * width, 0.7 * width) for item in items]
            axes.broken_barh(spans, (row - 0.3, 0.6), facecolor=colour)
    axes.set(xlim=(0, duration_s), xlabel="time, s")
    axes.set_yticks(range(len(example["snippets"])), example["snippets"])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    count = len(next(iter(example["snippets"].values())))
    figure.suptitle(f"{count} of {num_snippets} snippets", x=0.01, ha="left")
    handles = [
        Patch(color=PALE_ACTION, label="action"),
        Patch(color=PICKED, label="picked snippet"),
        Patch(color=OTHER, label="other snippet"),
    ]
    figure.legend(handles=handles, loc="upper right", ncols=3, frameon=False, fontsize="small")


def _draw_maps(figure: SubFigure, example: Row) -> None:
    all_axes = figure.subplots(2, 4, sharex=True, sharey=True)
    picks = example["proposals"]
    for axes, (strategy, index) in zip(all_axes.flat, picks.items(), strict=False):
        _draw_map(axes, example, index)
        axes.set_title(strategy, fontsize="medium")
    for axes in all_axes.flat[len(picks) :]:
        axes.set_axis_off()
    figure.supxlabel("start, s", fontsize="medium")
    figure.supylabel("duration, s", fontsize="medium")
    num_proposals = int(valid_cells(example).sum())
    count = len(next(iter(picks.values())))
    figure.suptitle(f"{count} of {num_proposals:,} proposals", x=0.01, ha="left")
    handles = [
        Patch(color=PICKED, label="picked proposal"),
        Patch(color=PICKED_ACTION, label="picked, tIoU ≥ 0.7"),
        Patch(color=ACTION, label="not picked, tIoU ≥ 0.7"),
        Patch(color=OTHER, label="other proposal"),
    ]
    legend = all_axes.flat[-1].legend(
        handles=handles, loc="center", frameon=False, fontsize="small"
    )
    # All maps are equally wide.
    legend.set_in_layout(False)


def _draw_map(axes: Axes, example: Row, index: Sequence[int]) -> None:
    valid = valid_cells(example)
    kind = torch.zeros(int(valid.sum()), dtype=torch.int64)
    kind[example["high_tiou"]] = 1
    kind[index] += 2
    cells = torch.full(valid.shape, torch.nan)
    cells[valid] = kind.float()
    second = example["duration_s"] / example["num_snippets"]
    extent = (0, valid.shape[1] * second, 0.5 * second, (len(valid) + 0.5) * second)
    axes.imshow(
        cells.numpy(),
        cmap=ListedColormap([OTHER, ACTION, PICKED, PICKED_ACTION]),
        vmin=0,
        vmax=3,
        extent=extent,
        origin="lower",
        interpolation="nearest",
        aspect="auto",
    )
    axes.spines[["top", "right"]].set_visible(False)


def valid_cells(example: Row) -> torch.Tensor:
    return proposal_map(example["num_snippets"], example["max_duration"])


def _draw_points(axes: Axes, example: Row, picked: set[int]) -> None:
    own = {name: set(example[name]) for name in ("hard_negatives", "foreground")}
    own["background"] = set(range(example["num_snippets"])).difference(*own.values())
    for name, colour, marker, _ in KINDS:
        for is_picked in (False, True):
            items = [item for item in own[name] if (item in picked) == is_picked]
            points = torch.tensor([example["embedding"][item] for item in items]).view(-1, 2)
            axes.scatter(
                points[:, 0],
                points[:, 1],
                s=50 if marker == "^" else 34,
                c=colour,
                marker=marker,
                edgecolors=PICKED if is_picked else "white",
                linewidths=1.6 if is_picked else 0.5,
                zorder=3 if is_picked else 2,
            )
