"""Break the library on purpose, one change at a time, and see that the tests notice each.

    python -m tests.mutate [words]

Tries the mutants of tests/mutants whose file or name holds the words, or all of them: each in a
fork of this process, which has imported already what takes long, and with the tests that are to
notice it only. Ends with an error if a mutant survives, if the code that it changes is no longer
there, or if those tests fail without a mutant.
"""

import importlib
import itertools
import os
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[1]
SLOW_IMPORTS = ("pytest", "torch._dynamo", "scipy.stats", "hypothesis.strategies")
OPTIONS = (
    *("-x", "-q", "-n=0", "-m=", "-pno:cacheprovider"),
    # Plugins have been imported with what is slow.
    "-Wignore::pytest.PytestAssertRewriteWarning",
)
AT_ONCE = 2
TIMEOUT_S = 120


@dataclass(frozen=True)
class Mutant:
    """A change of one place in the code, and the tests that notice it.

    Attributes:
        file: Path of what is changed, from the root of the repository.
        name: What the change does wrong.
        old: Text that the file holds once.
        new: What replaces it.
        tests: Each as file::test, or as file::test[case], the file without its folder and ending.
    """

    file: str
    name: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def text(self) -> str:
        """The changed file.

        Raises:
            ValueError: If the old text is not there exactly once.
        """
        text = (ROOT / self.file).read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} holds {self.old!r} {text.count(self.old)} times.")
        return text.replace(self.old, self.new)

    @property
    def test_ids(self) -> list[str]:
        """The tests as pytest names them.

        Raises:
            ValueError: If one is not there.
        """
        return [self._found(test) for test in self.tests]

    def _found(self, test: str) -> str:
        stem, _, function = test.partition("::")
        package = Path(self.file).parts[0]
        for path in (ROOT / "tests" / package).rglob(f"{stem}.py"):
            if f"def {function.partition('[')[0]}(" in path.read_text():
                return test.replace(stem, str(path), 1)
        raise ValueError(f"{self.file}, {self.name}: there is no {test}.")


def all_mutants() -> list[Mutant]:
    """Read the lists."""
    return [
        Mutant(file, name, old, new, tuple(tests))
        for path in sorted((ROOT / "tests/mutants").glob("*.toml"))
        for file, mutants in tomllib.loads(path.read_text()).items()
        for name, (old, new, *tests) in mutants.items()
    ]


def main(words: str) -> None:
    """Try the mutants whose file or name holds the words.

    Raises:
        SystemExit: If there are none, not all are noticed, or the tests fail without a mutant.
    """
    mutants = [x for x in all_mutants() if words in f"{x.file}: {x.name}"]
    if not mutants:
        raise SystemExit(f"No mutant has {words!r} in its file or name.")
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    wrong = []
    for number, (mutant, status, output, seconds) in enumerate(_results(mutants)):
        name = f"{mutant.file}: {mutant.name}" if mutant else "no mutant"
        # Other numbers say that no test ran to its end.
        said = {0: "SURVIVED" if mutant else "passes", 1: "noticed" if mutant else "FAILED"}
        verdict = said.get(status, f"ended with {status}")
        sys.stdout.write(f"{number:3} of {len(mutants)}  {seconds:5.1f} s  {verdict:8}  {name}\n")
        if status != bool(mutant):
            wrong.append(f"{verdict}  {name}")
            sys.stdout.write(output if status else "")
        sys.stdout.flush()
    if wrong:
        raise SystemExit("\n".join([f"{len(wrong)} not as they should be:", *wrong]))


def _results(mutants: Sequence[Mutant]) -> Iterator[tuple[Mutant | None, int, str, float]]:
    """Yield each mutant, and None for no mutant, with the status and the output of its tests."""
    waiting: Iterator[Mutant | None] = iter((None, *mutants))
    every_test = list(dict.fromkeys(test for mutant in mutants for test in mutant.test_ids))
    running: dict[int, tuple[Mutant | None, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        while True:
            for mutant in itertools.islice(waiting, AT_ONCE - len(running)):
                process = os.fork()
                if process == 0:
                    _run_tests(mutant, mutant.test_ids if mutant else every_test, Path(folder))
                running[process] = mutant, time.monotonic()
            if not running:
                return
            process, status = os.wait()
            mutant, started_s = running.pop(process)
            output = (Path(folder) / str(process)).read_text()
            yield mutant, os.waitstatus_to_exitcode(status), output, time.monotonic() - started_s


def _run_tests(mutant: Mutant | None, tests: Sequence[str], folder: Path) -> NoReturn:
    """Run tests in a fork, which ends with the status of pytest."""
    import pytest

    status = 70
    try:
        with (folder / str(os.getpid())).open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        if mutant:
            signal.alarm(TIMEOUT_S)
            _serve(str(ROOT / mutant.file), mutant.text)
        status = pytest.main([*OPTIONS, *tests])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _serve(path: str, text: str) -> None:
    """Let the import of one file find another text."""
    get_data, path_stats = SourceFileLoader.get_data, SourceFileLoader.path_stats

    def changed_data(self: SourceFileLoader, name: str) -> bytes:
        return text.encode() if name == path else get_data(self, name)

    def changed_stats(self: SourceFileLoader, name: str) -> object:
        if name == path:
            raise OSError("Python then neither reads nor writes a compiled file.")
        return path_stats(self, name)

    SourceFileLoader.get_data, SourceFileLoader.path_stats = changed_data, changed_stats  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
