"""Change the samplers in thousands of small ways, one at a time, and see that tests notice each.

    python -m tests.mutate_samplers [parts of files or scopes]

Runs the tests of samplers and aps that reach the change. Ends with an error if a change survives
that tests/mutants/survivors.md does not explain, or one that it explains does not survive.
"""

import sys

import pytest

from tests.mutants.changes import Change, changes_of
from tests.mutants.survivors import DOCUMENT, Survivor, explained
from tests.mutants.trials import Trials
from tests.mutation import ROOT

PACKAGES = ("aps", "samplers")
OPTIONS = ("-x", "-s", "-q", "-p", "no:cacheprovider")


def all_changes() -> list[Change]:
    """Return every change of the packages."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).glob("*.py"))]
    return [x for f in files for x in changes_of(str(f.relative_to(ROOT)), f.read_text())]


def main(parts: list[str]) -> None:
    """Try the changes whose file or scope holds one of the parts, or all of them.

    Raises:
        SystemExit: If the document and the changes that survive do not agree.
    """
    known = explained(DOCUMENT.read_text())
    changes = [
        x for x in all_changes() if any(part in f"{x.file} {x.scope}" for part in parts or [""])
    ]
    wrong = tried = 0

    def report(change: Change, survived: bool) -> None:
        nonlocal tried, wrong
        tried += 1
        is_known = Survivor.of(change) in known
        if survived != is_known:
            wrong += 1
            said = "SURVIVED" if survived else "noticed, although explained"
            sys.stdout.write(f"{said}, {tried} of {len(changes)}: {Survivor.of(change)}\n")
        if tried % 100 == 0:
            sys.stdout.write(f"{tried} of {len(changes)} tried, in {change.file}.\n")
        sys.stdout.flush()

    tests = [f"tests/{package}" for package in PACKAGES]
    pytest.main([*OPTIONS, *tests], plugins=[Trials(changes, PACKAGES, report)])
    if wrong or tried < len(changes):
        raise SystemExit(f"{tried} of {len(changes)} changes tried, {wrong} not as explained.")
    sys.stdout.write(f"All of {tried} changes as explained.\n")


if __name__ == "__main__":
    main(sys.argv[1:])
