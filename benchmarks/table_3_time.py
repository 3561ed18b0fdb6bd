"""The time column of the paper's table 3: SGS by K and by ratio, to naive training.

    python benchmarks/table_3_time.py                    # at a size for a CPU core
    python benchmarks/table_3_time.py --device cuda      # at the paper's size, with memory

Last result, on a CPU core: 147 / 155 / 181 / 237 % of naive training at K = 8 / 4 / 2 / 1, and at
K = 4 106 / 91 / 84 / 71 / 63 % at ratio 50 / 40 / 30 / 20 / 10 %.

The settings are the paper's: all frames on the device, both passes alike, nothing cached. At the
size for a CPU core K stands for as many snippets per encoder call, a quarter of the paper's.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.measuring.rows import RESULTS, write_rows
from benchmarks.paper_tables import TABLE_3
from benchmarks.sgs_time import ROUNDS, run, table
from benchmarks.training_steps import methods
from benchmarks.training_steps.cases import Case
from benchmarks.training_steps.problem import Problem, Size
from sgs import SequentialGradientSampler

# By the micro-batches of K = 4.
SIZES = {
    "cpu": Size("resnet50_tsm", 2, 20, 8, 64, 4, 4),
    "cuda": Size("resnet50_tsm", 2, 4 * 128, 8, 224, 16, 16, num_videos=4),
}


def main() -> None:
    arguments = parse_arguments()
    device = torch.device(arguments.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    rounds = arguments.rounds or ROUNDS[device.type]
    rows = run(SIZES[device.type], device, rounds=rounds, make_cases=cases_of_table)
    print(table("table 3", rows))
    write_rows(arguments.results or result_of(device.type), rows)


def result_of(device: str) -> Path:
    return RESULTS / f"table_3_time_{device}.json"


def cases_of_table(problem: Problem, size: Size) -> Iterator[Case]:
    """Yield the rows of the table, named as there."""
    (middle,) = [setting.micro_batch_size for name, setting, _ in TABLE_3 if name == "SGS, K = 4"]
    for name, setting, _ in TABLE_3:
        if setting.method == "naive":
            yield Case(name, setting.ratio, partial(methods.naive, problem))
            continue
        sampler = SequentialGradientSampler(
            problem.encoder,
            micro_batch_size=setting.micro_batch_size * size.micro_batch_size // middle,
            ratio=setting.ratio,
        )
        yield Case(name, setting.ratio, partial(methods.sampled, problem, sampler))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=tuple(SIZES), default="cpu")
    parser.add_argument("--rounds", type=int, help="rounds that count")
    parser.add_argument("--results", type=Path, help="file for the rows")
    return parser.parse_args()


if __name__ == "__main__":
    main()
