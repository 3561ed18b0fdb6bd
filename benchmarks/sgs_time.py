"""The time of a training step, against naive training and other methods.

    python benchmarks/sgs_time.py                    # three encoders at sizes for a CPU core
    python benchmarks/sgs_time.py --device cuda      # TSM-ResNet50 at the paper's size, with memory

Last result, on a CPU core: at ratio 100 % a step takes 0.98 to 1.01 of the time of checkpointing,
1.01 to 1.03 of GradCache's and 0.99 to 1.02 of a hand-written Alg. 1; with one kept graph 0.95 to
0.97, 0.97 to 0.99 and 0.97 to 0.99. At ratio 10 % it is 1.01 to 1.03 of the hand-written loop.

All methods run in turn in one process, so that their ratios mean something on a busy machine. On
the CPU the head is tiny, so that it does not dilute the differences; on CUDA it is the ETAD
detector.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial

import torch
from torch import Tensor

from benchmarks.measuring.arguments import device_of, timing_parser_of
from benchmarks.measuring.conditions import conditions
from benchmarks.measuring.measure import Measured, Step, measure, relative
from benchmarks.measuring.rows import RESULTS, Row, read_rows, write_rows
from benchmarks.report.step_tables import time_table
from benchmarks.training_steps.cases import FULL, HAND_WRITTEN, Case, cases_of
from benchmarks.training_steps.workload import Size, TemporalHead, Workload
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


def main(argv: Sequence[str] | None = None) -> None:
    parser = timing_parser_of(__doc__)
    parser.add_argument("--encoders", nargs="+", help="only these; rows of others stay")
    arguments = parser.parse_args(argv)
    device = device_of(arguments)
    path = arguments.results or RESULTS / f"sgs_time_{device.type}.json"
    for size in SIZES[device.type]:
        if size.encoder in (arguments.encoders or [size.encoder]):
            new = run(size, device, rounds=arguments.rounds or ROUNDS[device.type])
            print(time_table(size.encoder, new))
            write_rows(path, [*others(read_rows(path), size.encoder), *new])


def others(rows: list[Row], encoder: str) -> list[Row]:
    """Return the rows of the other encoders, which stay as they are."""
    return [row for row in rows if row["size"]["encoder"] != encoder]


def run(
    size: Size,
    device: torch.device,
    *,
    rounds: int,
    make_cases: Callable[[Workload, Size], Iterator[Case]] = cases_of,
) -> list[Row]:
    """Measure all cases of one encoder."""
    torch.manual_seed(0)
    with device:
        workload = size.workload(partial(_head, num_videos=size.num_videos, device=device))
    cases = list(make_cases(workload, size))
    optimizer = torch.optim.AdamW(workload.trained, lr=LEARNING_RATE)
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


if __name__ == "__main__":
    main()
