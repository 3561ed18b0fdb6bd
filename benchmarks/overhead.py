"""What the sampler costs beyond two passes by hand, on encoders of many small modules.

    python benchmarks/overhead.py

64 items, 4 per encoder call, ratio 100 %, on one CPU core. The hand-written loop is Alg. 1 of the
paper in ten lines (`benchmarks.training_steps.methods.hand_written`): nothing replayed, nothing
compared. Targets: at most 1.10 of its time for 320 tiny layers, 1.05 for a vision transformer of 24
blocks, and 1.03 for EfficientNet-B0.

Both run in turn in one process, in another order each round. The ratio is taken round by round, of
the time of the process, which other programs on the machine change least, and of wall time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.measuring.arguments import parser_of
from benchmarks.measuring.conditions import conditions
from benchmarks.measuring.measure import measure, quartiles, relative
from benchmarks.measuring.rows import RESULTS, Row, read_rows, write_rows
from benchmarks.report.markdown import spread
from benchmarks.training_steps.many_modules import EfficientNet, VisionTransformer, tiny_layers
from benchmarks.training_steps.methods import hand_written, sampled
from benchmarks.training_steps.workload import Workload
from sgs import SequentialGradientSampler

NUM_ITEMS = 64
MICRO_BATCH_SIZE = 4


@dataclass(frozen=True)
class Case:
    """An encoder, and how it is measured.

    Attributes:
        build: Makes the encoder.
        item_shape: Shape of an item.
        rounds: Rounds that count, unless the command line says otherwise.
    """

    build: Callable[[], nn.Module]
    item_shape: tuple[int, ...]
    rounds: int


CASES = {
    "320 tiny layers": Case(tiny_layers, (16,), 31),
    "vision transformer, 24 blocks": Case(VisionTransformer, (3, 32, 32), 31),
    "EfficientNet-B0": Case(EfficientNet, (3, 64, 64), 21),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, help="rounds that count")
    parser.add_argument("--encoders", nargs="+", choices=CASES, help="only these; others stay")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    path = arguments.results or RESULTS / "overhead.json"
    rows = {row["encoder"]: row for row in read_rows(path)}
    for name in arguments.encoders or CASES:
        rows[name] = run(name, CASES[name], rounds=arguments.rounds or CASES[name].rounds)
        print(describe(rows[name]), flush=True)
        write_rows(path, list(rows.values()))


def run(name: str, case: Case, *, rounds: int) -> Row:
    """Measure the sampler in turn with the hand-written loop."""
    workload = workload_of(case)
    encoder = workload.encoder
    sampler = SequentialGradientSampler(encoder, micro_batch_size=MICRO_BATCH_SIZE)
    steps = {
        "ours": partial(step, partial(sampled, sampler=sampler), workload),
        "by hand": partial(step, hand_written, workload),
    }
    found = measure(steps, device=torch.device("cpu"), rounds=rounds)
    ours, by_hand = found["ours"], found["by hand"]
    walls = zip(ours.wall_ms, by_hand.wall_ms, strict=True)
    return {
        "encoder": name,
        "num_modules": len(list(encoder.modules())),
        "num_items": NUM_ITEMS,
        "micro_batch_size": MICRO_BATCH_SIZE,
        "step_ms": quartiles(ours.step_ms),
        "step_by_hand_ms": quartiles(by_hand.step_ms),
        "to_hand_written": relative(ours, by_hand),
        "wall_to_hand_written": quartiles([a / b for a, b in walls]),
        "rounds": rounds,
        "dtype": "float32",
        **conditions(torch.device("cpu")),
    }


def workload_of(case: Case) -> Workload:
    """Return the same encoder and items each time, under a loss that costs next to nothing."""
    torch.manual_seed(0)
    return Workload(
        trunk=case.build(),
        stem=None,
        items=torch.randn(NUM_ITEMS, *case.item_shape),
        loss_of=mean_square,
        micro_batch_size=MICRO_BATCH_SIZE,
    )


def mean_square(features: Tensor) -> Tensor:
    return features.square().mean()


def step(method: Callable[[Workload], None], workload: Workload) -> None:
    for parameter in workload.trained:
        parameter.grad = None
    method(workload)


def describe(row: Row) -> str:
    """Return a line for a terminal."""
    return (
        f"{row['encoder']} ({row['num_modules']} modules): {row['step_ms'][1]:.0f} ms, by hand "
        f"{row['step_by_hand_ms'][1]:.0f} ms, {spread(row['to_hand_written'], digits=3)} of the "
        f"processor time, {spread(row['wall_to_hand_written'], digits=3)} of the wall time"
    )


if __name__ == "__main__":
    main()
