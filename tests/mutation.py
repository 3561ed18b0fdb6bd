"""Break code in many ways, one at a time, and see that the tests notice each.

Works on a copy of the repository.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("sgs", "samplers", "aps", "tests", "pyproject.toml")
RUN = "import sys, pytest; sys.path.insert(0, '.'); sys.exit(pytest.main(sys.argv[1:]))"
TIMEOUT_S = 600


@dataclass(frozen=True)
class Mutant:
    """A change of one place in the code that tests must notice."""

    file: str
    old: str
    new: str


def main(mutants: Mapping[str, Mutant], tests: Sequence[str]) -> None:
    """Try the mutants whose name holds the words of the command line.

    Args:
        mutants: By name.
        tests: What pytest is called with: files in the order in which they run, and options.

    Raises:
        SystemExit: If a mutant survives, the tests fail without one, or the code that one changes
            is no longer there.
    """
    words = " ".join(sys.argv[1:])
    unchanged = Mutant("pyproject.toml", "[project]\n", "[project]\n")
    if not survives(unchanged, tests):
        raise SystemExit("The tests fail without a mutant.")
    survivors = []
    for name, mutant in mutants.items():
        if words in name:
            alive = survives(mutant, tests)
            sys.stdout.write(f"{'SURVIVED' if alive else 'noticed '}  {name}\n")
            sys.stdout.flush()
            survivors += [name] if alive else []
    if survivors:
        raise SystemExit(f"{len(survivors)} mutant(s) survived.")


def survives(mutant: Mutant, tests: Sequence[str]) -> bool:
    """Tell whether all tests pass with the mutant."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        changed = copy / mutant.file
        text = changed.read_text()
        if text.count(mutant.old) != 1:
            raise SystemExit(f"{mutant.file} holds {mutant.old!r} {text.count(mutant.old)} times.")
        changed.write_text(text.replace(mutant.old, mutant.new))
        # Isolated from the working directory: an editable install must not win over the copy.
        options = ("-x", "-q", "-p", "no:cacheprovider")
        command = [sys.executable, "-c", RUN, *options, *tests]
        try:
            finished = subprocess.run(
                command, cwd=copy, capture_output=True, check=False, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            return False
        return finished.returncode == 0
