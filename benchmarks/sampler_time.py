"""What drawing a sample costs, by strategy, beside what people use instead.

    python benchmarks/sampler_time.py                  # on a CPU core, in turn with the peers
    python benchmarks/sampler_time.py --with-dppy      # also DPPy at 8,256 proposals, once: minutes
    python benchmarks/sampler_time.py --device cuda

Last result, on a CPU core, 495 of 8,256 proposals with 128 channels: DPP takes 66 ms, 1/1,500 of
DPPy; FarthestPoint 113 ms, 0.36 of torch_cluster in float32, with the same items, but 3.4 of it at
1,035 proposals and 7.2 at 128 snippets. Random, Block, ScaleBalanced, Grid and IoUBalanced take
0.08 to 0.6 ms, 2 to 17 times torch.randperm.

The candidates are the proposals of a video, or its snippets. DPPy (`pip install "etad[dpp]"`),
torch_cluster (`"etad[fps]"`) and fpsample (`pip install fpsample`) are timed where they are
installed; a row says why where one is not. They start from the features of a training step as the
strategies do, so that DPPy decomposes a new kernel each time. Libraries that keep threads of their
own follow OMP_NUM_THREADS=1.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from benchmarks.draws.cases import FARTHEST, SAMPLE, Draw, draws_of
from benchmarks.draws.peers import (
    DPPY,
    DPPY_DUAL,
    FPSAMPLE,
    RANDPERM,
    TORCH_CLUSTER,
    TORCH_CLUSTER_64,
)
from benchmarks.draws.settings import SETTINGS, Setting
from benchmarks.measuring.arguments import device_of, timing_parser_of
from benchmarks.measuring.conditions import conditions
from benchmarks.measuring.measure import Measured, Step, measure, quartiles, relative
from benchmarks.measuring.rows import RESULTS, Row, write_rows
from benchmarks.report.markdown import markdown
from benchmarks.report.sampler_targets import sampler_targets
from benchmarks.report.target import targets_table

ROUNDS = 5
# A draw is repeated until it takes so long: in less the clock and the cache are what is measured.
_SHORTEST_S = 0.01
_TRIALS = 5
OURS = f"{FARTHEST} {SAMPLE}"
REFERENCES = {
    FARTHEST: (TORCH_CLUSTER, TORCH_CLUSTER_64, FPSAMPLE),
    "DPP": (DPPY, DPPY_DUAL),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = timing_parser_of(__doc__)
    parser.add_argument("--with-dppy", action="store_true", help="DPPy at full size, once")
    arguments = parser.parse_args(argv)
    device = device_of(arguments)
    rows: list[Row] = []
    for setting in SETTINGS:
        rounds = arguments.rounds or ROUNDS
        new = run(setting, device, rounds=rounds, with_dppy=arguments.with_dppy)
        print(table(setting, new), flush=True)
        rows += new
    write_rows(arguments.results or RESULTS / f"sampler_time_{device.type}.json", rows)
    print(targets_table(sampler_targets(rows)))


def run(setting: Setting, device: torch.device, *, rounds: int, with_dppy: bool) -> list[Row]:
    """Measure all draws of one setting; what takes minutes once, after the others."""
    draws = draws_of(setting, setting.candidates(device), with_dppy=with_dppy)
    ready = [draw for draw in draws if draw.unavailable is None]
    usual = [draw for draw in ready if not draw.is_slow]
    firsts = {draw.key: _first(draw) for draw in usual}
    steps = {draw.key: partial(_repeat, draw.run, firsts[draw.key].repeats) for draw in usual}
    found = measure(steps, device=device, rounds=rounds, warm_up=0)
    slow = {draw.key: draw.run for draw in ready if draw.is_slow}
    found |= measure(slow, device=device, rounds=1, warm_up=0) if slow else {}
    for key, first in firsts.items():
        found[key] = _per_draw(found[key], first.repeats)
    shared = {"setting": setting.row(), "dtype": "float32", **conditions(device)}
    return [{**_row(draw, found, firsts), **shared} for draw in draws]


class _First(NamedTuple):
    """What the first calls tell, which warm up as well."""

    repeats: int
    chosen: list[int]


def _first(draw: Draw) -> _First:
    found, took_s = _timed(draw.run)
    if took_s < _SHORTEST_S:
        # A first call, or one that is interrupted, is long: too few repeats would follow from it.
        took_s = min(_timed(draw.run)[1] for _ in range(_TRIALS))
    return _First(
        repeats=max(1, round(_SHORTEST_S / took_s)),
        chosen=sorted(int(item) for item in found) if draw.is_farthest_point else [],
    )


def _timed(call: Step) -> tuple[Any, float]:
    start_s = time.perf_counter()
    found = call()
    return found, time.perf_counter() - start_s


def _repeat(call: Step, repeats: int) -> None:
    for _ in range(repeats):
        call()


def _per_draw(found: Measured, repeats: int) -> Measured:
    return replace(
        found,
        step_ms=[time_ms / repeats for time_ms in found.step_ms],
        wall_ms=[time_ms / repeats for time_ms in found.wall_ms],
    )


def _row(draw: Draw, found: dict[str, Measured], firsts: dict[str, _First]) -> Row:
    times = found.get(draw.key, Measured())
    is_compared = draw.is_farthest_point and draw.key in firsts
    return {
        "method": draw.method,
        "what": draw.what,
        "unavailable": draw.unavailable,
        **times.row(),
        "repeats": firsts[draw.key].repeats if draw.key in firsts else len(times.step_ms),
        "relative_to": dict(_relatives(draw, found)),
        "same_index": firsts[draw.key].chosen == firsts[OURS].chosen if is_compared else None,
    }


def _relatives(draw: Draw, found: dict[str, Measured]) -> Iterator[tuple[str, list[float]]]:
    if draw.key not in found:
        return
    times = found[draw.key]
    for name in (RANDPERM, *REFERENCES.get(draw.method, ())):
        reference = found.get(f"{name} {SAMPLE}")
        if reference is not None:
            yield name, _relative(times, reference)


def _relative(times: Measured, reference: Measured) -> list[float]:
    """Return quartiles of the ratio, where one of the two may have been timed once only."""
    if len(times.step_ms) == len(reference.step_ms):
        return relative(times, reference)
    return quartiles([a / b for a in times.step_ms for b in reference.step_ms])


def table(setting: Setting, rows: Sequence[Row]) -> str:
    """Return the medians of one setting as a markdown table."""
    place = "proposals" if setting.on_map else "snippets"
    title = (
        f"{setting.count:,} of {setting.num_items:,} {place}, {setting.channels} channels, "
        f"{setting.features}"
    )
    columns = (RANDPERM, TORCH_CLUSTER, TORCH_CLUSTER_64, FPSAMPLE, DPPY, DPPY_DUAL)
    head = (title, "", "ms", *(f"to {name}" for name in columns), "same index")
    return markdown(head, (_line(row, columns) for row in rows), names=2)


def _line(row: Row, columns: Sequence[str]) -> Sequence[str]:
    ratios = [row["relative_to"].get(name) for name in columns]
    return (
        row["method"],
        row["what"],
        row["unavailable"] or f"{row['step_ms'][1]:.3g}",
        *("" if ratio is None else f"{ratio[1]:.3g}" for ratio in ratios),
        {True: "yes", False: "no", None: ""}[row["same_index"]],
    )


if __name__ == "__main__":
    main()
