"""What the strategies of `samplers` were meant to cost, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.draws.draws import FARTHEST, SAMPLE
from benchmarks.draws.peers import DPPY, RANDPERM, TORCH_CLUSTER, TORCH_CLUSTER_64
from benchmarks.draws.settings import GAUSSIAN, HEADLINE, Setting
from benchmarks.measuring.rows import Row
from benchmarks.report.target import Target

_UNGUIDED = ("Random", "Grid", "Block", "IoUBalanced", "ScaleBalanced")
_FEW_TIMES = 5


def sampler_targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Yield all that concern the strategies, in order."""
    yield from _dpp(rows)
    yield from _farthest_point(rows)
    yield from _unguided(rows)


def draw_of(rows: Sequence[Row], setting: Setting, method: str) -> Row:
    """Return the row of what a method's sample costs."""
    wanted = (setting.row(), method, SAMPLE)
    (found,) = [row for row in rows if (row["setting"], row["method"], row["what"]) == wanted]
    return found


def _dpp(rows: Sequence[Row]) -> Iterator[Target]:
    row = draw_of(rows, HEADLINE, "DPP")
    name = f"k-DPP, {HEADLINE.count} of {HEADLINE.num_items:,} proposals"
    time_ms = row["step_ms"][1]
    yield Target(f"{name}, one core", "-", "≤ 500 ms", f"{time_ms:.0f} ms", time_ms <= 500)
    if DPPY in row["relative_to"]:
        times = 1 / row["relative_to"][DPPY][1]
        yield Target(f"{name}, DPPy to it", "-", "≥ 100", f"{times:.0f}", times >= 100)
    else:
        reason = draw_of(rows, HEADLINE, DPPY)["unavailable"]
        yield Target(f"{name}, DPPy to it", "-", "≥ 100", reason, None)


def _farthest_point(rows: Sequence[Row]) -> Iterator[Target]:
    for setting in (HEADLINE, GAUSSIAN):
        row = draw_of(rows, setting, FARTHEST)
        subject = (
            f"farthest points, {setting.count} of {setting.num_items:,} proposals, "
            f"{setting.features} features, to torch_cluster in float32"
        )
        yield _at_most(subject, row["relative_to"].get(TORCH_CLUSTER), 1)
    same = [row["same_index"] for row in rows if row["method"] == TORCH_CLUSTER_64]
    same = [is_same for is_same in same if is_same is not None]
    yield Target(
        "farthest points, settings with the items of torch_cluster in float64",
        "-",
        "all",
        f"{sum(same)} of {len(same)}",
        all(same) if same else None,
    )


def _unguided(rows: Sequence[Row]) -> Iterator[Target]:
    for method in _UNGUIDED:
        row = draw_of(rows, HEADLINE, method)
        subject = f"{method}, {HEADLINE.count} of {HEADLINE.num_items:,} proposals, to {RANDPERM}"
        yield _at_most(subject, row["relative_to"][RANDPERM], _FEW_TIMES)


def _at_most(subject: str, found: list[float] | None, limit: float) -> Target:
    if found is None:
        return Target(subject, "-", f"≤ {limit:.1f}", "not measured", None)
    first, median, third = found
    ours = f"{median:.2f} ({first:.2f} to {third:.2f})"
    return Target(subject, "-", f"≤ {limit:.1f}", ours, median <= limit)
