"""The time of drawing a sample, by strategy, beside other libraries.

    python benchmarks/sampler_time.py                  # on a CPU core, in turn with the peers
    python benchmarks/sampler_time.py --with-dppy      # also DPPy at 8,256 proposals, once: minutes
    python benchmarks/sampler_time.py --device cuda

Last result, on a CPU core, 495 of 8,256 proposals with 128 channels: DPP takes 66 ms, 1/1,500 of
DPPy; FarthestPoint 113 ms, 0.36 of torch_cluster in float32, with the same items, but 3.4 of it at
1,035 proposals and 7.2 at 128 snippets. Random, Block, ScaleBalanced, Grid and IoUBalanced take
0.08 to 0.6 ms, 2 to 17 times torch.randperm.

The candidates are the proposals of a video, or its snippets. DPPy (`pip install "etad[dpp]"`),
torch_cluster (`"etad[fps]"`) and fpsample (`pip install fpsample`) are timed if they are installed;
otherwise the row gives the reason. Like the strategies, they start from the features of a training
step, so DPPy decomposes a new kernel each time. Set OMP_NUM_THREADS=1 for libraries with threads of
their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from timeit import repeat, timeit

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
# A draw is repeated until it takes this long: the clock and the cache distort shorter times.
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
    """Measure all draws of one setting in turn, then the slow ones once."""
    draws = draws_of(setting, setting.candidates(device), with_dppy=with_dppy)
    ready = [draw for draw in draws if draw.unavailable is None]
    usual = {draw.key: draw.run for draw in ready if not draw.is_slow}
    slow = {draw.key: draw.run for draw in ready if draw.is_slow}
    repeats = {key: _repeats(call) for key, call in usual.items()}
    steps = {key: partial(timeit, call, number=repeats[key]) for key, call in usual.items()}
    found = measure(steps, device=device, rounds=rounds, warm_up=0)
    found = {key: _per_draw(measured, repeats[key]) for key, measured in found.items()}
    found |= measure(slow, device=device, rounds=1, warm_up=0)
    compared = [draw for draw in ready if draw.is_farthest_point and not draw.is_slow]
    chosen = {draw.key: sorted(map(int, draw.run())) for draw in compared}
    shared = {"setting": setting.row(), "dtype": "float32", **conditions(device)}
    return [
        {
            "method": draw.method,
            "what": draw.what,
            "unavailable": draw.unavailable,
            **found.get(draw.key, Measured()).row(),
            "repeats": repeats.get(draw.key, int(draw.key in slow)),
            "relative_to": dict(_relatives(draw, found)),
            "same_index": chosen[draw.key] == chosen[OURS] if draw.key in chosen else None,
            **shared,
        }
        for draw in draws
    ]


def _repeats(call: Step) -> int:
    """Return how often a draw is repeated in each round, after calls that also warm up."""
    took_s = timeit(call, number=1)
    if took_s < _SHORTEST_S:
        # The first call is long, and so is one that is interrupted.
        took_s = min(repeat(call, number=1, repeat=_TRIALS))
    return max(1, round(_SHORTEST_S / took_s))


def _per_draw(found: Measured, repeats: int) -> Measured:
    return replace(
        found,
        step_ms=[time_ms / repeats for time_ms in found.step_ms],
        wall_ms=[time_ms / repeats for time_ms in found.wall_ms],
    )


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
