"""Write the table of docs/exactness.md from what the tests expect.

python -m tests.sgs.exactness.document
"""

from collections.abc import Iterable
from pathlib import Path

from tests.sgs.exactness.outcomes import (
    ALL_KINDS,
    DISTRIBUTED,
    IN_ONE_PROCESS,
    Crashed,
    Exact,
    Refused,
    Undefined,
    outcome_in,
)
from tests.sgs.exactness.settings import SETTINGS
from tests.sgs.families import FAMILIES
from tests.sgs.kinds import KINDS
from tests.sgs.zoo import ZOO

DOCUMENT = Path(__file__).parents[3] / "docs/exactness.md"
MARK = "<!-- Written by `python -m tests.sgs.exactness.document`. -->\n"
COLUMNS = (*SETTINGS, *DISTRIBUTED)


def written() -> str:
    """Return the text after the mark."""
    cells = [cell(name, setting) for name in IN_ONE_PROCESS for setting in columns(name)]
    tolerances = "; ".join(f"{name} {setting.rtol:.0e}" for name, setting in SETTINGS.items())
    return f"""
{len(KINDS)} encoders written for these tests, each with one peculiarity, {len(FAMILIES)} of
`transformers` and {len(ZOO)} of other packages with small random configurations.
{cells.count("exact")} of {len(cells)} combinations are exact
and {sum(x.startswith("to ") for x in cells)} to a tolerance of their own;
{cells.count("refused")} are refused; {cells.count("crash")} end in an error that does not say what
to do ("crash"); in {cells.count("-")} ("-") the naive graph fails, or is wrong
without the sampler, so that there is nothing to be equal to. Tests:
`tests/sgs/exactness/test_kinds.py::test_kind_is_exact_or_refused` and, for several processes,
`tests/sgs/distributed/test_kinds.py::test_kind_is_exact_or_refused`.

Relative tolerances: {tolerances}; {", ".join(DISTRIBUTED)} 1e-12. bfloat16 is compared with a naive
graph of the same micro-batches without autocast's cache, which would sum in bfloat16. Encoders that
draw random numbers are compared with the same micro-batches in one graph.

### Exceptions

{bullets()}

### Encoders written for these tests

{table(KINDS, COLUMNS)}

### Encoders of transformers

{table(FAMILIES, COLUMNS)}

### Encoders of other packages

The name begins with the package. They are tested in one process, where the extra `zoo` is installed
(see [CONTRIBUTING.md](../CONTRIBUTING.md)).

{table(ZOO, tuple(SETTINGS))}
"""


def columns(name: str) -> tuple[str, ...]:
    return COLUMNS if name in ALL_KINDS else tuple(SETTINGS)


def table(names: Iterable[str], settings: tuple[str, ...]) -> str:
    rows = [(name, *(cell(name, setting) for setting in settings)) for name in names]
    head = ("", *settings)
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(name: str, setting: str) -> str:
    match outcome_in(setting, name):
        case Exact(rtol=None):
            return "exact"
        case Exact(rtol=rtol):
            return f"to {rtol:.0e}"
        case Refused():
            return "refused"
        case Crashed():
            return "crash"
        case Undefined():
            return "-"


def bullets() -> str:
    """Explain every cell that is not exact, by its reason."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for name in IN_ONE_PROCESS:
        for setting in columns(name):
            outcome, text = outcome_in(setting, name), cell(name, setting)
            if outcome.because:
                kinds = found.setdefault((text, outcome.because), {})
                kinds.setdefault(name, []).append(setting)
    lines = [
        f"- {' and '.join(in_words(kinds))}: {'undefined' if text == '-' else text}; {because}."
        for (text, because), kinds in sorted(found.items())
    ]
    return "\n".join(lines)


def in_words(kinds: dict[str, list[str]]) -> list[str]:
    """Name kinds with the same settings together."""
    together: dict[tuple[str, ...], list[str]] = {}
    for name, settings in kinds.items():
        where = ("all",) if tuple(settings) == columns(name) else tuple(settings)
        together.setdefault(where, []).append(f"`{name}`")
    return [f"{', '.join(names)} ({', '.join(settings)})" for settings, names in together.items()]


def main() -> None:
    before = DOCUMENT.read_text().split(MARK)[0]
    DOCUMENT.write_text(before + MARK + written())


if __name__ == "__main__":
    main()
