"""Where the parts of the timeline figure go, in inches."""

from collections.abc import Iterable
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.etad.pictures.figure_file import new_figure
from examples.etad.pictures.figure_text import text_width_inch
from examples.etad.pictures.timeline_bars import NAME_WIDTH_INCH, SMALL

_WIDTH, _ROW, _CURVES, _GAP, _TOP, _BOTTOM, _RIGHT = 7.2, 0.13, 0.6, 0.14, 0.3, 0.42, 1.05


class Panels(NamedTuple):
    """The parts of the figure; `curves` only where there are any."""

    figure: Figure
    rows: Axes
    colour_bar: Axes
    curves: Axes | None


def lay_out(names: Iterable[str], *, rows_above: int, rows_below: int, with_curves: bool) -> Panels:
    """Place the panels: rows of one height, and as much width as the names need."""
    widest = max((text_width_inch(name, size=SMALL) for name in names), default=0.0)
    left = 0.2 + min(max(widest, 0.2), NAME_WIDTH_INCH)
    rows_height = _ROW * (rows_above + rows_below + 1.2)
    height = _BOTTOM + rows_height + _TOP + with_curves * (_GAP + _CURVES)
    figure = new_figure(_WIDTH, height)

    def add_axes(x: float, y: float, width: float, panel_height: float) -> Axes:
        return figure.add_axes((x / _WIDTH, y / height, width / _WIDTH, panel_height / height))

    width = _WIDTH - left - _RIGHT
    rows = add_axes(left, _BOTTOM, width, rows_height)
    rows.set_ylim(-rows_below - 0.6, rows_above + 0.6)
    rows.set_yticks([])
    rows.tick_params(labelsize=SMALL + 0.5, length=2.5)
    rows.xaxis.label.set_fontsize(SMALL + 1)
    rows.spines[["left", "right", "top"]].set_visible(False)
    rows.axhline(0, color="black", linewidth=1.2)
    bar_height = min(_ROW * rows_below, 1.6)
    bar_bottom = _BOTTOM + _ROW * (rows_below + 0.4) - bar_height
    colour_bar = add_axes(_WIDTH - 0.55, bar_bottom, 0.09, bar_height)
    curves = add_axes(left, _BOTTOM + rows_height + _GAP, width, _CURVES) if with_curves else None
    if curves is not None:
        curves.sharex(rows)
    return Panels(figure, rows, colour_bar, curves)
