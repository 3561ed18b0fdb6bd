"""What the example's default run reaches, over seeds, and what its parts contribute.

    python benchmarks/default_run.py                    # all rows, then the table
    python benchmarks/default_run.py --seeds 0 --set train.epochs=1

Every row is one run of `examples/etad/train.py` in a process of its own, with one thread; `--jobs`
run at the same time. The rows are kept in `benchmarks/results/default_run.json`, the table of the
README is made from them.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from examples.etad.data.from_settings import find_videos
from examples.etad.settings.loading import load_config
from examples.etad.train import DEFAULT_CONFIG

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results/default_run.json"
VARIANTS = {
    "end to end": [],
    "frozen random encoder": ["encoder.frozen=true"],
}
UNTRAINED = "untrained"


def main() -> None:
    arguments = parse_arguments()
    jobs = [(name, seed) for seed in arguments.seeds for name in VARIANTS]
    # Rendered here, once: the runs would render into the same folder at the same time.
    find_videos(load_config(DEFAULT_CONFIG, arguments.set).data)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        found = list(pool.map(lambda job: run(*job, arguments), jobs))
    rows = [row for rows in found for row in rows]
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))


def run(variant: str, seed: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
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
    """Run a script of the example; its output is shown only if it fails."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples/etad" / script), *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise RuntimeError(f"{script} {' '.join(arguments)} failed:\n{result.stderr[-3000:]}")


def row_of(variant: str, seed: int, path: Path, minutes: float) -> dict[str, Any]:
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


def table(rows: list[dict[str, Any]]) -> str:
    """Return the mean and the range over seeds, in percent, as a markdown table."""
    lines = [
        "| | average mAP, class-agnostic | average mAP, per class |",
        "|---|---:|---:|",
    ]
    for variant in (*VARIANTS, UNTRAINED):
        own = [row for row in rows if row["variant"] == variant]
        cells = [
            summary([100 * row[f"average_map_{kind}"] for row in own])
            for kind in ("class_agnostic", "per_class")
        ]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(values: list[float]) -> str:
    """Return the mean and the range."""
    return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file for the rows")
    parser.add_argument("--output", type=Path, default=Path("runs/default_run"), help="folder")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
