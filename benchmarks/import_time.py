"""The time of `import sgs` beyond `import torch`.

    python benchmarks/import_time.py

Every round starts two processes, one after the other: one imports torch, the other torch and then
sgs. `import_s` is the time of the second import, by the clock of its own process;
`process_difference_s` compares the whole processes, and so includes what sgs adds to their start
and end.
"""

import subprocess
import sys
import time
from collections.abc import Sequence

import torch

from benchmarks.measuring.arguments import parser_of
from benchmarks.measuring.conditions import ROOT, conditions
from benchmarks.measuring.measure import quartiles
from benchmarks.measuring.rows import RESULTS, Row, write_rows
from benchmarks.report.markdown import spread

ROUNDS = 10
PROGRAM = """
import time
import {after}
start_s = time.perf_counter()
{statement}
print(time.perf_counter() - start_s)
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--package", default="sgs", help="the import that is measured")
    parser.add_argument("--after", default="torch", help="the import before it")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds that count")
    arguments = parser.parse_args(argv)
    row = run(arguments.package, arguments.after, rounds=arguments.rounds)
    for name in ("import_s", "process_difference_s"):
        print(f"{row['package']} after {row['after']}, {name}: {spread(row[name], digits=3)}")
    write_rows(arguments.results or RESULTS / "import_time.json", [row])


def run(package: str, after: str, *, rounds: int) -> Row:
    """Measure a package in turn with the import before it, after one round that does not count."""
    import_s, difference_s = [], []
    for number in range(1 + rounds):
        _, without_s = fresh_process("pass", after)
        inside_s, with_s = fresh_process(f"import {package}", after)
        # The first round fills the caches of the file system.
        if number:
            import_s.append(inside_s)
            difference_s.append(with_s - without_s)
    return {
        "package": package,
        "after": after,
        "import_s": quartiles(import_s),
        "process_difference_s": quartiles(difference_s),
        "rounds": rounds,
        **conditions(torch.device("cpu")),
    }


def fresh_process(statement: str, after: str) -> tuple[float, float]:
    """Return the seconds of a statement after an import, and of the whole process."""
    program = PROGRAM.format(after=after, statement=statement)
    start_s = time.perf_counter()
    printed = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)
    return float(printed), time.perf_counter() - start_s


if __name__ == "__main__":
    main()
