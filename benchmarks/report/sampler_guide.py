"""The table that recommends a strategy for each purpose."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.draws.settings import HEADLINE, SNIPPETS, Setting
from benchmarks.measuring.rows import Row
from benchmarks.report.markdown import markdown, spread
from benchmarks.report.sampler_targets import draw_of

RATIO = 0.3


class Advice(NamedTuple):
    """Facts about a strategy that are not measured.

    Attributes:
        use: The purpose that it suits.
        needs: The knowledge of the items that it needs.
        law: The distribution of a sample.
    """

    use: str
    needs: str
    law: str


ADVICE = {
    "Grid": Advice(
        "**default for snippets**, and whatever else comes in an order of time or space",
        "nothing",
        "fixed stride in time, lattice on the map; random phase: each item n / N",
    ),
    "Random": Advice(
        "**default for proposals**; items whose order means nothing, or has a period",
        "nothing",
        "uniform: each item n / N",
    ),
    "GradientNorm": Advice(
        "the least error, where the subset may be drawn in the backward (below)",
        "the loss's gradient",
        "in proportion to its norm, systematic",
    ),
    "DPP": Advice(
        "variety in the space of features, with exact probabilities",
        "features",
        "determinant of the cosine kernel",
    ),
    "FarthestPoint": Advice(
        'covering the space of features; no probabilities, hence `weights="none"`',
        "features",
        "greedy maximin, only the start is random",
    ),
    "Block": Advice(
        "neighbours, where only these can be read together",
        "nothing",
        "one run in time, one square of the map",
    ),
    "IoUBalanced": Advice("proposals only", "ground truth", "n / 3 of each of three bins of tIoU"),
    "ScaleBalanced": Advice("proposals only", "durations", "n / 3 of each of three bins of scale"),
    "KernelDPP": Advice("called directly", "a kernel", "determinant of your own kernel"),
}


def guide_table(time_rows: Sequence[Row], error_rows: Sequence[Row]) -> str:
    """Return the advice beside time and error of a sample."""
    head = (
        "strategy", "use it for", "needs", "law",
        f"{SNIPPETS.count} of {SNIPPETS.num_items} snippets",
        f"{HEADLINE.count} of {HEADLINE.num_items:,} proposals",
        "error to Random's, untrained", "trained",
    )  # fmt: skip
    lines = []
    for strategy, advice in ADVICE.items():
        times = [_time(time_rows, setting, strategy) for setting in (SNIPPETS, HEADLINE)]
        errors = [_error(error_rows, model, strategy) for model in ("untrained", "trained")]
        lines.append((f"`{strategy}()`", *advice, *times, *errors))
    return markdown(head, lines, names=4)


def _time(rows: Sequence[Row], setting: Setting, method: str) -> str:
    row = draw_of(rows, setting, method)
    if not row["step_ms"]:
        return "-"
    time_ms = row["step_ms"][1]
    return f"{time_ms:.2f} ms" if time_ms < 1 else f"{time_ms:.0f} ms"


def _error(rows: Sequence[Row], model: str, strategy: str) -> str:
    wanted = (model, strategy, RATIO, "inverse_probability")
    names = ("model", "strategy", "ratio", "weights")
    found = [row["to_random"] for row in rows if tuple(row[name] for name in names) == wanted]
    if not found:
        return "-"
    return spread(found[0])
