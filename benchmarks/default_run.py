"""The mAP of the example's default run over seeds, and the share of its parts.

    python benchmarks/default_run.py                    # all rows, then the table
    python benchmarks/default_run.py --seeds 0 --set train.epochs=1

Every row is one run of `examples/etad/train.py` in a process of its own, with one thread; `--jobs`
of them run at the same time. The table of the README is made from the rows in
`benchmarks/results/default_run.json`.
"""

import argparse
import io
import json
import multiprocessing
import os
import platform
import runpy
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from itertools import product
from pathlib import Path
from unittest.mock import patch

import torch

from benchmarks.measuring.arguments import parser_of
from benchmarks.measuring.conditions import ROOT
from benchmarks.measuring.rows import RESULTS, Row, write_rows
from benchmarks.report.markdown import markdown, spread
from examples.etad.data.from_settings import find_videos
from examples.etad.settings.loading import load_config
from examples.etad.train import DEFAULT_CONFIG

VARIANTS = {
    "end to end": [],
    "frozen random encoder": ["encoder.frozen=true"],
}
UNTRAINED = "untrained"


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    # Rendered here, once: the runs would render into the same folder at the same time.
    find_videos(load_config(DEFAULT_CONFIG, arguments.set).data)
    with processes(arguments.jobs) as pool:
        seeds, variants = zip(*product(arguments.seeds, VARIANTS), strict=True)
        found = pool.map(partial(run, arguments), variants, seeds)
        rows = [row for rows in found for row in rows]
    write_rows(arguments.results or RESULTS / "default_run.json", rows)
    print(table(rows))


def processes(jobs: int) -> Executor:
    """Return a pool that starts a process with one thread for each task."""
    return ProcessPoolExecutor(
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
        max_tasks_per_child=1,
    )


def run(arguments: argparse.Namespace, variant: str, seed: int) -> list[Row]:
    """Train and evaluate once; the end-to-end run also gives the row of its untrained model."""
    output = arguments.output / f"{variant.replace(' ', '_')}_{seed}"
    settings = [*VARIANTS[variant], f"train.seed={seed}", *arguments.set]
    started_s = time.perf_counter()
    call("train.py", "--output", str(output), *(x for s in settings for x in ("--set", s)))
    minutes = (time.perf_counter() - started_s) / 60
    rows = [row_of(variant, seed, output / "results.json", minutes)]
    if variant == "end to end":
        checkpoint, folder = str(output / "checkpoint.pt"), output / UNTRAINED
        call("evaluate.py", checkpoint, "--untrained", "--output", str(folder))
        rows.append(row_of(UNTRAINED, seed, folder / "results.json", 0.0))
    return rows


def call(script: str, *arguments: str) -> None:
    """Run a script of the example without its output."""
    silent = io.StringIO()
    with patch("sys.argv", [script, *arguments]), redirect_stdout(silent), redirect_stderr(silent):
        runpy.run_path(str(ROOT / "examples/etad" / script), run_name="__main__")


def row_of(variant: str, seed: int, path: Path, minutes: float) -> Row:
    """Return one measured row with its conditions."""
    results = json.loads(path.read_text())
    return {
        "variant": variant,
        "seed": seed,
        "average_map_class_agnostic": results["class-agnostic"]["average_map"],
        "map_per_tiou_class_agnostic": results["class-agnostic"]["map_per_tiou"],
        "average_map_per_class": results["per class"]["average_map"],
        "minutes": minutes,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread",
    }


def table(rows: Sequence[Row]) -> str:
    """Return mean and range over seeds, in percent, as a markdown table."""
    lines = []
    for variant in (*VARIANTS, UNTRAINED):
        own = [row for row in rows if row["variant"] == variant]
        cells = [variant]
        for kind in ("class_agnostic", "per_class"):
            values = [100 * row[f"average_map_{kind}"] for row in own]
            cells.append(spread((min(values), statistics.mean(values), max(values)), digits=1))
        lines.append(cells)
    return markdown(("", "average mAP, class-agnostic", "average mAP, per class"), lines)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--output", type=Path, default=Path("runs/default_run"), help="folder")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
