"""The detections of a video on its time axis (paper supplement H)."""

import os
from collections.abc import Sequence

from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from torch import Tensor

from examples.etad.pictures.figure_file import check_figure_path, save_figure
from examples.etad.pictures.figure_text import shorten, text_width_inch
from examples.etad.pictures.time_axis import label_time_axis
from examples.etad.pictures.timeline_bars import (
    COLOUR_MAP,
    QUIET,
    SMALL,
    Colouring,
    Lane,
    arrange_lanes,
    choose_colours,
    draw_bars,
    draw_curves,
    draw_lanes,
    remark,
    shade,
)
from examples.etad.pictures.timeline_layout import Panels, lay_out
from examples.etad.segments import Detections, GroundTruth


def plot_timeline(
    path: str | os.PathLike[str],
    *,
    video_id: str,
    duration_s: float,
    detections: Detections,
    class_names: Sequence[str],
    ground_truth: GroundTruth | None = None,
    startness: Float[Tensor, " snippets"] | None = None,
    endness: Float[Tensor, " snippets"] | None = None,
    top: int = 20,
    class_agnostic: bool = False,
) -> None:
    """Draw the best detections of one video, as in the paper's qualitative figure.

    The instances are black bars above a line, the detections coloured bars below it, best first.
    The lighter a detection, the higher its best tIoU with an instance of any class; a hollow one
    has another class than the instance that it overlaps best. Without instances the colour is the
    score.

    Args:
        path: File to write, .png, .pdf or .svg; replaced if it exists.
        video_id: Title.
        duration_s: Length of the time axis.
        detections: Detections of the video, in any order.
        class_names: Names of the labels 0, 1, ....
        ground_truth: Instances of the video; None if they are not known.
        startness: Probability of a start in each snippet, drawn on top if given.
        endness: Probability of an end in each snippet, drawn on top if given.
        top: Detections to draw.
        class_agnostic: Ignore the labels of the detections, for a detector without classes: their
            rows have no name, and none is hollow.

    Raises:
        ValueError: If the suffix is unknown, the duration is not positive, `top` is below 1, a
            label has no name, or a curve is not one value per snippet.
    """
    checked = check_figure_path("plot_timeline", path)
    _check_settings(duration_s=duration_s, top=top)
    _check_labels(None if class_agnostic else detections, ground_truth, class_names=class_names)
    curves = _given_curves(startness=startness, endness=endness)
    best, is_known = detections.top(top), ground_truth is not None
    lanes = arrange_lanes(ground_truth, class_names) if ground_truth else []
    names = ["" if class_agnostic else class_names[label] for label in best.labels.tolist()]
    panels = _place(names, lanes, is_known=is_known, with_curves=bool(curves))
    label_time_axis(panels.rows, duration_s)
    if panels.curves is not None:
        draw_curves(panels.curves, curves, duration_s=duration_s)
    _draw_ground_truth(panels, lanes, is_known=is_known)
    colouring = choose_colours(best, ground_truth, class_agnostic=class_agnostic)
    _draw_detections(panels, best, colouring=colouring, names=names)
    caption = _caption(detections, colouring, top=top, with_truth=is_known)
    _draw_title(panels.figure, video_id, caption)
    save_figure(panels.figure, checked)


def _place(
    names: Sequence[str], lanes: Sequence[Lane], *, is_known: bool, with_curves: bool
) -> Panels:
    return lay_out(
        [*names, *(lane.name for lane in lanes)],
        rows_above=max(len(lanes), is_known),
        rows_below=max(len(names), 3),
        with_curves=with_curves,
    )


def _draw_ground_truth(panels: Panels, lanes: Sequence[Lane], *, is_known: bool) -> None:
    for axes in (panels.rows, panels.curves):
        if axes is not None:
            shade(axes, lanes)
    draw_lanes(panels.rows, lanes)
    if is_known and not lanes:
        remark(panels.rows, 1, "no annotated instance")


def _draw_detections(
    panels: Panels, best: Detections, *, colouring: Colouring, names: Sequence[str]
) -> None:
    if not len(best):
        remark(panels.rows, -2, "no detections")
        panels.colour_bar.remove()
        return
    draw_bars(panels.rows, best, colouring=colouring, names=names)
    _draw_colour_bar(panels, colouring)


def _draw_colour_bar(panels: Panels, colouring: Colouring) -> None:
    scale = ScalarMappable(colouring.norm, COLOUR_MAP)
    bar = panels.figure.colorbar(scale, cax=panels.colour_bar)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=SMALL, length=2)
    bar.set_label(colouring.meaning, fontsize=SMALL)


def _draw_title(figure: Figure, video_id: str, caption: str) -> None:
    width, height = figure.get_size_inches()
    y = 1 - 0.09 / height
    free = width - text_width_inch(caption, size=SMALL) - 0.4
    title = shorten(video_id, free, size=9, weight="bold")
    figure.text(0.012, y, title, fontsize=9, weight="bold", va="top", parse_math=False)
    figure.text(0.988, y, caption, fontsize=SMALL, color=QUIET, va="top", ha="right")


def _caption(detections: Detections, colouring: Colouring, *, top: int, with_truth: bool) -> str:
    parts = [f"top {min(top, len(detections))} of {len(detections)} detections below the line"]
    if with_truth:
        parts.insert(0, "ground truth above")
    if bool(colouring.other_class.any()):
        parts.append("hollow: other class")
    return "  ·  ".join(parts)


def _check_settings(*, duration_s: float, top: int) -> None:
    if not 0 < duration_s < float("inf"):
        raise ValueError(
            f"plot_timeline(duration_s={duration_s}): expected the length of the video in seconds."
        )
    if top < 1:
        raise ValueError(f"plot_timeline(top={top}): expected at least 1 detection to draw.")


def _check_labels(
    detections: Detections | None,
    ground_truth: GroundTruth | None,
    *,
    class_names: Sequence[str],
) -> None:
    for name, item in (("detections", detections), ("ground_truth", ground_truth)):
        if item and int(item.labels.max()) >= len(class_names):
            raise ValueError(
                f"plot_timeline({name}=...): label {int(item.labels.max())} has no name, expected "
                f"labels below {len(class_names)}."
            )


def _given_curves(**curves: Tensor | None) -> dict[str, Tensor]:
    given = {name: curve for name, curve in curves.items() if curve is not None}
    for name, curve in given.items():
        if curve.ndim != 1 or not len(curve):
            raise ValueError(
                f"plot_timeline({name}=...): expected shape [snippets], got {list(curve.shape)}. "
                "Pass one video at a time."
            )
    return given
