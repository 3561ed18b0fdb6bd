"""How far from the best choice is the planner's, and does it stay within its budget?

    python benchmarks/plan_choice.py

For each encoder and budget, a sampler with a `MemoryBudget` trains until its sizes settle. Then
its choice is timed on one CPU core, in turn with all micro-batch sizes and numbers of kept graphs
whose measured peak is within the budget.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.measuring.arguments import parser_of
from benchmarks.measuring.conditions import conditions
from benchmarks.measuring.measure import Measured, measure, relative
from benchmarks.measuring.rows import RESULTS, Row, write_rows
from benchmarks.report.markdown import spread
from benchmarks.report.step_tables import choice_text
from benchmarks.training_steps.workload import Size, TemporalHead, Workload
from sgs import MemoryBudget, SequentialGradientSampler, readable_bytes
from sgs.planning.estimate.live_bytes import LiveBytes

RATIO = 0.5
SIZES = (
    Size("motion_net", 0, 64, 8, 48, 1, 1),
    Size("resnet50_tsm", 2, 16, 8, 32, 1, 1),
    Size("videomae_small", 4, 16, 8, 32, 1, 1),
)
# Multiples of the least memory of a step: one item at a time, no graph kept.
BUDGETS = (1.3, 2.5)
# The first step knows neither the head nor the optimizer, the second one does.
SETTLING = 2
ROUNDS = 5


@dataclass(frozen=True)
class Choice:
    """The settings of a sampler."""

    micro_batch_size: int
    forward_micro_batch_size: int
    kept_graphs: int

    def sampler(self, workload: Workload) -> SequentialGradientSampler:
        """Return a sampler with them."""
        return SequentialGradientSampler(
            workload.trunk, frozen_stem=workload.stem, ratio=RATIO, **asdict(self)
        )


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds that count")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = []
    for size in SIZES:
        for factor in BUDGETS:
            rows.append(run(size, factor, rounds=arguments.rounds))
            print(describe(rows[-1]), flush=True)
    write_rows(arguments.results or RESULTS / "plan_choice.json", rows)


def run(size: Size, factor: float, *, rounds: int) -> Row:
    """Compare the choice for one encoder and budget with all others."""
    torch.manual_seed(0)
    workload = size.workload(TemporalHead)
    budget = int(factor * peak_bytes(workload, Choice(1, 1, 0)) / 0.9)
    chosen = chosen_for(workload, budget)
    peaks = {choice: peak_bytes(workload, choice) for choice in choices(size.num_items)}
    fitting = [choice for choice, peak in peaks.items() if peak <= budget]
    steps = {choice: partial(step, choice.sampler(workload), workload) for choice in fitting}
    steps[chosen] = partial(step, chosen.sampler(workload), workload)
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
        "chosen_peak_bytes": peak_bytes(workload, chosen),
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


def chosen_for(workload: Workload, budget: int) -> Choice:
    """Return the settings that a sampler with this budget settles on."""
    sampler = SequentialGradientSampler(
        workload.trunk,
        micro_batch_size=MemoryBudget(budget),
        frozen_stem=workload.stem,
        ratio=RATIO,
    )
    for _ in range(SETTLING):
        step(sampler, workload)
    sizes = sampler.sizes
    return Choice(sizes.micro_batch_size, sizes.forward_micro_batch_size, sizes.kept_graphs)


def step(sampler: SequentialGradientSampler, workload: Workload) -> None:
    for parameter in workload.trained:
        parameter.grad = None
    workload.loss_of(sampler(workload.items)).backward()


def peak_bytes(workload: Workload, choice: Choice) -> int:
    """Return the peak bytes of all tensors in a real step."""
    counter, sampler = LiveBytes(), choice.sampler(workload)
    held: list[Tensor] = [
        workload.items,
        *workload.encoder.parameters(),
        *workload.encoder.buffers(),
    ]
    counter.assign(held, "there before")
    for parameter in workload.trained:
        parameter.grad = None
    with counter:
        step(sampler, workload)
    return counter.peak.total()


def median_ms(measured: Measured) -> float:
    return statistics.median(measured.step_ms)


def describe(row: Row) -> str:
    """Return a line for a terminal."""
    return (
        f"{row['size']['encoder']}, {readable_bytes(row['budget_bytes'])}: "
        f"{choice_text(row['chosen'])} takes {readable_bytes(row['chosen_peak_bytes'])} and "
        f"{spread(row['chosen_to_best'], digits=3)} of the time of the best of "
        f"{row['num_tried']}, {choice_text(row['best'])}"
    )


if __name__ == "__main__":
    main()
