"""How far from the best choice is the planner's, and does it stay within its budget?

    python benchmarks/plan_choice.py

For each encoder and budget, a sampler with `memory_budget` trains until it has settled. Then all
micro-batch sizes with all numbers of kept graphs whose measured peak is within the budget are timed
in one run with its choice, on one CPU core.
"""

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring.conditions import conditions
from benchmarks.measuring.measure import Measured, measure, relative
from benchmarks.measuring.rows import RESULTS, Row, write_rows
from benchmarks.training_steps.problem import Problem, Size, TemporalHead
from sgs import SequentialGradientSampler
from sgs.planning.byte_size import readable_bytes
from sgs.planning.estimate.live_bytes import LiveBytes

RESULT = RESULTS / "plan_choice.json"
RATIO = 0.5
SIZES = (
    Size("motion_net", 0, 64, 8, 48, 1, 1),
    Size("resnet50_tsm", 2, 16, 8, 32, 1, 1),
    Size("videomae_small", 4, 16, 8, 32, 1, 1),
)
# Of the least that a step takes: one item at a time and nothing kept.
BUDGETS = (1.3, 2.5)
# Until the sampler has tried its sizes.
SETTLING = 12
ROUNDS = 5


@dataclass(frozen=True)
class Choice:
    """The settings of a sampler."""

    micro_batch_size: int
    forward_micro_batch_size: int
    kept_graphs: int

    def sampler(self, problem: Problem) -> SequentialGradientSampler:
        """Return a sampler with them."""
        return SequentialGradientSampler(
            problem.trunk, frozen_stem=problem.stem, ratio=RATIO, **asdict(self)
        )


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    rows = []
    for size in SIZES:
        for factor in BUDGETS:
            rows.append(run(size, factor, rounds=arguments.rounds))
            print(describe(rows[-1]), flush=True)
    write_rows(arguments.results, rows)


def run(size: Size, factor: float, *, rounds: int) -> Row:
    """Compare the choice for one encoder and budget with all others."""
    torch.manual_seed(0)
    problem = size.problem(TemporalHead)
    budget = int(factor * peak_bytes(problem, Choice(1, 1, 0)) / 0.9)
    chosen = chosen_for(problem, budget)
    peaks = {choice: peak_bytes(problem, choice) for choice in choices(size.num_items)}
    fitting = [choice for choice, peak in peaks.items() if peak <= budget]
    steps = {choice: partial(step, choice.sampler(problem), problem) for choice in fitting}
    steps[chosen] = partial(step, chosen.sampler(problem), problem)
    found = measure(
        {str(choice): run for choice, run in steps.items()},
        device=torch.device("cpu"),
        rounds=rounds,
    )
    best = min(fitting, key=lambda choice: median_ms(found[str(choice)]))
    return {
        "size": asdict(size),
        "ratio": RATIO,
        "budget_factor": factor,
        "budget_bytes": budget,
        "chosen": asdict(chosen),
        "chosen_peak_bytes": peak_bytes(problem, chosen),
        "best": asdict(best),
        "best_peak_bytes": peaks[best],
        "num_tried": len(fitting),
        "chosen_to_best": relative(found[str(chosen)], found[str(best)]),
        "rounds": rounds,
        "dtype": "float32",
        **conditions(torch.device("cpu")),
    }


def choices(num_items: int) -> Iterator[Choice]:
    """Yield powers of two for both numbers, and all graphs."""
    sampled = round(RATIO * num_items)
    size = 1
    while size <= num_items:
        most = -(-sampled // size)
        kept = sorted({0, most, *(2**i for i in range(8) if 2**i < most)})
        yield from (Choice(size, size, graphs) for graphs in kept)
        size *= 2


def chosen_for(problem: Problem, budget: int) -> Choice:
    """Return what a sampler with this budget settles on."""
    sampler = SequentialGradientSampler(
        problem.trunk, frozen_stem=problem.stem, ratio=RATIO, memory_budget=budget
    )
    for _ in range(SETTLING):
        step(sampler, problem)
    return Choice(sampler.micro_batch_size, sampler.forward_micro_batch_size, sampler.kept_graphs)


def step(sampler: SequentialGradientSampler, problem: Problem) -> None:
    for parameter in problem.trained:
        parameter.grad = None
    problem.loss_of(sampler(problem.items)).backward()


def peak_bytes(problem: Problem, choice: Choice) -> int:
    """Return the most bytes that the tensors of a real step take."""
    counter, sampler = LiveBytes(), choice.sampler(problem)
    held: list[Tensor] = [problem.items, *problem.encoder.parameters(), *problem.encoder.buffers()]
    counter.assign(held, "there before")
    for parameter in problem.trained:
        parameter.grad = None
    with counter:
        step(sampler, problem)
    return counter.peak.total()


def median_ms(measured: Measured) -> float:
    return statistics.median(measured.step_ms)


def describe(row: Row) -> str:
    """Return a line for a terminal."""
    first, median, third = row["chosen_to_best"]
    return (
        f"{row['size']['encoder']}, {readable_bytes(row['budget_bytes'])}: "
        f"{settings(row['chosen'])} takes {readable_bytes(row['chosen_peak_bytes'])} and "
        f"{median:.3f} ({first:.3f} to {third:.3f}) of the time of the best of "
        f"{row['num_tried']}, {settings(row['best'])}"
    )


def settings(choice: dict[str, Any]) -> str:
    return " / ".join(map(str, choice.values()))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds that count")
    parser.add_argument("--results", type=Path, default=RESULT, help="file for the rows")
    return parser.parse_args()


if __name__ == "__main__":
    main()
