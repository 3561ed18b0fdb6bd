"""Run the tests that reach a change, one change after another.

Each change is tried in a fork of one process, made when everything but the project is imported: it
costs little more than the first test that notices it.
"""

import importlib
import resource
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, TextIO

import pytest

from tests.mutants.changes import Change
from tests.mutants.fork import Fork, forked
from tests.mutants.recorder import Recorder
from tests.mutation import ROOT

SLOW_IMPORTS = ("torch", "torch.utils._python_dispatch", "scipy.stats", "hypothesis.strategies")
COLLECTION_S = 60
# A test may take this much longer with a change than without.
FACTOR, SLACK_S = 5, 10
# Of address space, beyond what is taken already.
SPARE_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Trials:
    """A plugin of pytest that tries changes in place of running tests.

    Args:
        changes: What is tried.
        packages: The folders that hold what is changed.
        report: Called with each change and whether it survived.
    """

    changes: Sequence[Change]
    packages: tuple[str, ...]
    report: Callable[[Change, bool], None]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool | None:
        session.config.pluginmanager.unregister(name="terminalreporter")
        for name in SLOW_IMPORTS:
            importlib.import_module(name)
        recorded = forked(session, lambda pipe: Recorder(pipe, self.packages))
        if recorded is None:
            return None  # In a fork: collect and run tests as usual.
        told, passed = recorded
        if not passed:
            raise SystemExit(f"The tests fail without a change: {[x.get('failed') for x in told]}")
        tests = {x["test"]: x for x in told}
        noticed: Counter[str] = Counter()
        for change in self.changes:
            limits_s = _limits_s(change, tests, noticed)
            tried = forked(session, lambda pipe: Trial(pipe, change, limits_s))  # noqa: B023
            if tried is None:
                return None
            told, survived = tried
            noticed.update(x["failed"] for x in told)
            self.report(change, survived)
        return True


def _limits_s(
    change: Change, tests: Mapping[str, dict[str, Any]], noticed: Counter[str]
) -> dict[str, float]:
    """Return how long each test may take that reaches a change, the most promising ones first."""
    first, last = change.lines
    reaching = [
        test
        for test, record in tests.items()
        if any(first <= line <= last for line in record["lines"].get(change.file, ()))
    ]
    reaching.sort(key=lambda test: (-noticed[test], tests[test]["seconds"]))
    return {test: SLACK_S + FACTOR * tests[test]["seconds"] for test in reaching}


class Trial(Fork):
    """Runs the tests that reach a change until one fails."""

    def __init__(self, pipe: TextIO, change: Change, limits_s: dict[str, float]) -> None:
        super().__init__(pipe)
        self._limits_s = limits_s
        _serve(str(ROOT / change.file), change.text)
        signal.setitimer(signal.ITIMER_REAL, COLLECTION_S)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        by_name = {item.nodeid: item for item in items}
        # The names of some tests hold the repr of what they test, and change with it.
        items[:] = [by_name[name] for name in self._limits_s if name in by_name]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._limits_s[item.nodeid])

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        # What no test reaches survives.
        super().pytest_sessionfinish(exitstatus % pytest.ExitCode.NO_TESTS_COLLECTED)


def _serve(path: str, text: str) -> None:
    """Let the import of one file find another text."""
    get_data, path_stats = SourceFileLoader.get_data, SourceFileLoader.path_stats

    def changed_data(self: SourceFileLoader, name: str) -> bytes:
        return text.encode() if name == path else get_data(self, name)

    def changed_stats(self: SourceFileLoader, name: str) -> Any:
        if name == path:
            raise OSError("Python then neither reads nor writes a compiled file.")
        return path_stats(self, name)

    SourceFileLoader.get_data, SourceFileLoader.path_stats = changed_data, changed_stats  # type: ignore[method-assign]
