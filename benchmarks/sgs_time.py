"""What a training step costs in time, against naive training and what people use instead.

    python benchmarks/sgs_time.py                    # three encoders at sizes for a CPU core
    python benchmarks/sgs_time.py --device cuda      # TSM-ResNet50 at the paper's size, with memory

Last result, on a CPU core: at ratio 100 % a step takes 0.98 to 1.01 of the time of checkpointing,
1.01 to 1.03 of GradCache's and 0.99 to 1.02 of a hand-written Alg. 1; with one kept graph 0.95 to
0.97, 0.97 to 0.99 and 0.97 to 0.99. At ratio 10 % it is 1.01 to 1.03 of the hand-written loop.

All methods run in turn in one process, so that their ratios mean something on a busy machine. On
the CPU the head is tiny, not to dilute what is compared; on CUDA it is the ETAD detector.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measuring.conditions import conditions
from benchmarks.measuring.measure import Measured, Step, measure, relative
from benchmarks.measuring.rows import RESULTS, Row, read_rows, write_rows
from benchmarks.training_steps.cases import FULL, HAND_WRITTEN, Case, cases_of
from benchmarks.training_steps.problem import Problem, Size, TemporalHead
from examples.etad.detectors.etad.config import DetectorConfig
from examples.etad.detectors.etad.detector import Detector
from examples.etad.detectors.etad.dry_run_head import DetectorHead

LEARNING_RATE = 1e-6
# So many items that each ratio is a whole number of micro-batches: all methods make the same calls.
SIZES = {
    "cpu": [
        Size("resnet50_tsm", 2, 20, 8, 64, 2, 4),
        Size("r2plus1d_34", 2, 10, 8, 48, 1, 2),
        Size("videomae_small", 4, 20, 8, 96, 2, 4),
    ],
    "cuda": [Size("resnet50_tsm", 2, 4 * 128, 8, 224, 16, 32, num_videos=4)],
}
ROUNDS = {"cpu": 5, "cuda": 3}


def main() -> None:
    arguments = parse_arguments()
    device = torch.device(arguments.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    path = arguments.results or result_of(device.type)
    sizes = [
        size
        for size in SIZES[device.type]
        if size.encoder in (arguments.encoders or [size.encoder])
    ]
    for size in sizes:
        new = run(size, device, rounds=arguments.rounds or ROUNDS[device.type])
        print(table(size.encoder, new))
        write_rows(path, [*others(read_rows(path), size.encoder), *new])


def others(rows: list[Row], encoder: str) -> list[Row]:
    """Return the rows of the other encoders, which stay as they are."""
    return [row for row in rows if row["size"]["encoder"] != encoder]


def result_of(device: str) -> Path:
    return RESULTS / f"sgs_time_{device}.json"


def run(
    size: Size,
    device: torch.device,
    *,
    rounds: int,
    make_cases: Callable[[Problem, Size], Iterator[Case]] = cases_of,
) -> list[Row]:
    """Measure all cases of one encoder."""
    torch.manual_seed(0)
    with device:
        problem = size.problem(partial(_head, num_videos=size.num_videos, device=device))
    cases = list(make_cases(problem, size))
    optimizer = torch.optim.AdamW(problem.trained, lr=LEARNING_RATE)
    steps = {case.key: partial(_step, case.gradients, optimizer) for case in cases}
    found = measure(steps, device=device, rounds=rounds)
    shared = {"size": asdict(size), "dtype": "float32", **conditions(device)}
    return [
        {
            "method": case.method,
            "ratio": case.ratio,
            **found[case.key].row(),
            "predicted_bytes": case.predicted_bytes() if device.type == "cuda" else None,
            "relative_to": dict(_relatives(case, found)),
            **shared,
        }
        for case in cases
    ]


def _head(channels: int, *, num_videos: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    if device.type == "cuda":
        return DetectorHead(Detector(DetectorConfig(), in_channels=channels), num_videos=num_videos)
    return TemporalHead(channels)


def _step(gradients: Step, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    gradients()
    optimizer.step()


def _relatives(case: Case, found: dict[str, Measured]) -> Iterator[tuple[str, list[float]]]:
    references = {name: f"{name} 1.0" for name in FULL}
    references[HAND_WRITTEN] = f"{HAND_WRITTEN} {case.ratio}"
    references["SGS"] = f"SGS {case.ratio}"
    for name, key in references.items():
        if key in found and not (found[key].is_out_of_memory or found[case.key].is_out_of_memory):
            yield name, relative(found[case.key], found[key])


def table(encoder: str, rows: list[Row]) -> str:
    """Return the medians of one encoder as a markdown table, with the memory where it is known."""
    columns = ("naive", "checkpoint", "GradCache", HAND_WRITTEN)
    head = ("step, ms", *(f"to {name}" for name in columns), "allocated, reserved, predicted GB")
    lines = [f"| {encoder} | ratio | {' | '.join(head)} |", "|---|" + "---:|" * (1 + len(head))]
    for row in rows:
        time_ms = "out of memory" if row["is_out_of_memory"] else f"{row['step_ms'][1]:.0f}"
        cells = [_ratio(row["relative_to"].get(name)) for name in columns]
        cells = [row["method"], str(row["ratio"]), time_ms, *cells, _memory(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _memory(row: Row) -> str:
    names = ("peak_allocated_bytes", "peak_reserved_bytes", "predicted_bytes")
    return ", ".join("-" if row[name] is None else f"{row[name] / 1e9:.2f}" for name in names)


def _ratio(quartiles: list[float] | None) -> str:
    if quartiles is None:
        return ""
    first, median, third = quartiles
    return f"{median:.3f} ({first:.3f} to {third:.3f})"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=tuple(SIZES), default="cpu")
    parser.add_argument("--encoders", nargs="+", help="only these; rows of others stay")
    parser.add_argument("--rounds", type=int, help="rounds that count")
    parser.add_argument("--results", type=Path, help="file for the rows")
    return parser.parse_args()


if __name__ == "__main__":
    main()
