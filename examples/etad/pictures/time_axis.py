"""A readable time axis: seconds for short videos, min:s or h:min:s for long ones."""

import math

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

_LONGEST_IN_SECONDS = 120
_STEPS_S = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
_MAX_TICKS = 9


def label_time_axis(axes: Axes, duration_s: float) -> None:
    """Let the x axis run from 0 to `duration_s`, with ticks at round times."""
    axes.set_xlim(0, duration_s)
    if duration_s <= _LONGEST_IN_SECONDS:
        axes.xaxis.set_major_locator(MaxNLocator(_MAX_TICKS, steps=[1, 2, 5, 10]))
        axes.set_xlabel("time (s)")
        return
    shortest_step_s = math.ceil(duration_s / _MAX_TICKS)
    step_s = next((step for step in _STEPS_S if step >= shortest_step_s), shortest_step_s)
    with_hours = duration_s >= 3600
    axes.xaxis.set_major_locator(MultipleLocator(step_s))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda time_s, _: format_time(time_s, with_hours=with_hours))
    )
    axes.set_xlabel("time (h:min:s)" if with_hours else "time (min:s)")


def format_time(time_s: float, *, with_hours: bool) -> str:
    """Return whole seconds as m:ss or h:mm:ss.

    Example:
        >>> format_time(75, with_hours=False), format_time(75, with_hours=True)
        ('1:15', '0:01:15')
    """
    minutes, seconds = divmod(round(time_s), 60)
    if not with_hours:
        return f"{minutes}:{seconds:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
