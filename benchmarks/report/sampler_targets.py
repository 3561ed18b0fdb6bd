"""Targets for the time that the strategies of `samplers` take, and the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.draws.cases import FARTHEST, SAMPLE
from benchmarks.draws.peers import DPPY, RANDPERM, TORCH_CLUSTER, TORCH_CLUSTER_64
from benchmarks.draws.settings import GAUSSIAN, HEADLINE, Setting
from benchmarks.measuring.rows import Row
from benchmarks.report.target import Target

_UNGUIDED = ("Random", "Grid", "Block", "IoUBalanced", "ScaleBalanced")
_FEW_TIMES = 5


def sampler_targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Yield the targets of all strategies, in order."""
    yield from _dpp(rows)
    yield from _farthest_point(rows)
    size = f"{HEADLINE.count} of {HEADLINE.num_items:,} proposals"
    for method in _UNGUIDED:
        found = draw_of(rows, HEADLINE, method)["relative_to"][RANDPERM]
        yield Target.at_most(f"{method}, {size}, to {RANDPERM}", found, _FEW_TIMES, digits=2)


def draw_of(rows: Sequence[Row], setting: Setting, method: str) -> Row:
    """Return the row of a method's sample."""
    wanted = (setting.row(), method, SAMPLE)
    (found,) = [row for row in rows if (row["setting"], row["method"], row["what"]) == wanted]
    return found


def _dpp(rows: Sequence[Row]) -> Iterator[Target]:
    row = draw_of(rows, HEADLINE, "DPP")
    name = f"k-DPP, {HEADLINE.count} of {HEADLINE.num_items:,} proposals"
    time_ms = row["step_ms"][1]
    yield Target(f"{name}, one core", "≤ 500 ms", f"{time_ms:.0f} ms", time_ms <= 500)
    if DPPY in row["relative_to"]:
        times = 1 / row["relative_to"][DPPY][1]
        yield Target(f"{name}, DPPy to it", "≥ 100", f"{times:.0f}", times >= 100)
    else:
        reason = draw_of(rows, HEADLINE, DPPY)["unavailable"]
        yield Target(f"{name}, DPPy to it", "≥ 100", reason, None)


def _farthest_point(rows: Sequence[Row]) -> Iterator[Target]:
    for setting in (HEADLINE, GAUSSIAN):
        found = draw_of(rows, setting, FARTHEST)["relative_to"].get(TORCH_CLUSTER)
        subject = (
            f"farthest points, {setting.count} of {setting.num_items:,} proposals, "
            f"{setting.features} features, to torch_cluster in float32"
        )
        yield Target.at_most(subject, found, 1, digits=2)
    same = [row["same_index"] for row in rows if row["method"] == TORCH_CLUSTER_64]
    same = [is_same for is_same in same if is_same is not None]
    subject = "farthest points, settings with the items of torch_cluster in float64"
    yield Target(subject, "all", f"{sum(same)} of {len(same)}", all(same) if same else None)
