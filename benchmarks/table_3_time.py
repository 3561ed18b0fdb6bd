"""The time column of the paper's table 3: SGS by K and by ratio, to naive training.

    python benchmarks/table_3_time.py                    # at a size for a CPU core
    python benchmarks/table_3_time.py --device cuda      # at the paper's size, with memory

Last result, on a CPU core: 147 / 155 / 181 / 237 % of naive training at K = 8 / 4 / 2 / 1, and at
K = 4 106 / 91 / 84 / 71 / 63 % at ratio 50 / 40 / 30 / 20 / 10 %.

The settings are those of the paper: all frames on the device, equal passes, nothing cached. At the
size for a CPU core K stands for as many snippets per encoder call, a quarter of the paper's.
"""

from collections.abc import Iterator, Sequence
from functools import partial

from benchmarks.measuring.arguments import device_of, timing_parser_of
from benchmarks.measuring.rows import RESULTS, write_rows
from benchmarks.paper_tables import TABLE_3
from benchmarks.report.step_tables import time_table
from benchmarks.sgs_time import ROUNDS, run
from benchmarks.training_steps import methods
from benchmarks.training_steps.cases import Case
from benchmarks.training_steps.workload import Size, Workload
from sgs import SequentialGradientSampler

# By the micro-batches of K = 4.
SIZES = {
    "cpu": Size("resnet50_tsm", 2, 20, 8, 64, 4, 4),
    "cuda": Size("resnet50_tsm", 2, 4 * 128, 8, 224, 16, 16, num_videos=4),
}


def main(argv: Sequence[str] | None = None) -> None:
    arguments = timing_parser_of(__doc__).parse_args(argv)
    device = device_of(arguments)
    rounds = arguments.rounds or ROUNDS[device.type]
    rows = run(SIZES[device.type], device, rounds=rounds, make_cases=cases_of_table)
    print(time_table("table 3", rows))
    write_rows(arguments.results or RESULTS / f"table_3_time_{device.type}.json", rows)


def cases_of_table(workload: Workload, size: Size) -> Iterator[Case]:
    """Yield the rows of the table, named as there."""
    (middle,) = [setting.micro_batch_size for name, setting, _ in TABLE_3 if name == "SGS, K = 4"]
    for name, setting, _ in TABLE_3:
        if setting.method == "naive":
            yield Case(name, setting.ratio, partial(methods.naive, workload))
            continue
        sampler = SequentialGradientSampler(
            workload.encoder,
            micro_batch_size=setting.micro_batch_size * size.micro_batch_size // middle,
            ratio=setting.ratio,
        )
        yield Case(name, setting.ratio, partial(methods.sampled, workload, sampler))


if __name__ == "__main__":
    main()
