"""Run the tests that reach a change, one change after another.

Each change is tried in a fork of one process in which the tests are collected already: it costs
little more than the first test that notices it. What only the import of a module runs is tried in
a fork from before that.
"""

import importlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from tests.mutants.changes import Change
from tests.mutants.fork import forked
from tests.mutants.recorder import Recorder
from tests.mutants.trial import Trial

SLOW_IMPORTS = ("torch", "torch.utils._python_dispatch", "scipy.stats", "hypothesis.strategies")
# A test may take this much longer with a change than without.
FACTOR, SLACK_S = 5, 10


class Trials:
    """A plugin of pytest that tries changes in place of running tests.

    Args:
        changes: What is tried.
        packages: The folders that hold what is changed.
        report: Called with each change and whether it survived.
    """

    def __init__(
        self,
        changes: Sequence[Change],
        packages: tuple[str, ...],
        report: Callable[[Change, bool], None],
    ) -> None:
        self._changes = changes
        self._packages = packages
        self._report = report
        self._tests: list[dict[str, Any]] = []
        self._noticed: Counter[str] = Counter()
        self._is_fork = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        session.config.pluginmanager.unregister(name="terminalreporter")
        for name in SLOW_IMPORTS:
            importlib.import_module(name)
        recorded = forked(session, partial(Recorder, packages=self._packages))
        if recorded is None:
            self._is_fork = True
            return
        told, passed = recorded
        if not passed:
            raise SystemExit(f"The tests fail without a change: {[x.get('failed') for x in told]}")
        self._tests = told
        self._try(session, [x for x in self._changes if x.is_definition])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if not self._is_fork:
            self._try(session, [x for x in self._changes if not x.is_definition])
        # Run tests in forks only.
        return None if self._is_fork else True

    def _try(self, session: pytest.Session, changes: Sequence[Change]) -> None:
        for change in changes:
            trial = partial(Trial, session=session, change=change, limits_s=self._limits_s(change))
            tried = forked(session, trial)
            if tried is None:
                self._is_fork = True
                return
            told, survived = tried
            self._noticed.update(x["failed"] for x in told)
            self._report(change, survived)

    def _limits_s(self, change: Change) -> Mapping[int, float]:
        """Return how long each test may take that reaches a change, the most promising first."""

        def is_missed_by(test: dict[str, Any]) -> bool:
            first, last = change.lines
            lines = test["lines"].get(change.file, ())
            return not any(first <= line <= last for line in lines)

        def order(test: dict[str, Any]) -> tuple[bool, int, float]:
            return is_missed_by(test), -self._noticed[test["name"]], test["seconds"]

        # What a definition makes, e.g. the hash of a dataclass, has no lines.
        reaching = [x for x in self._tests if change.is_definition or not is_missed_by(x)]
        return {
            test["position"]: SLACK_S + FACTOR * test["seconds"]
            for test in sorted(reaching, key=order)
        }
