"""One change: how it gets into the library, and the tests that may notice it."""

import gc
import resource
import signal
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import FunctionType
from typing import Any, TextIO

import pytest

from tests.mutants.changes import Change
from tests.mutants.codes import codes_of
from tests.mutants.fork import Fork
from tests.mutation import ROOT

COLLECTION_S = 60
# Of address space, beyond what is taken already.
SPARE_BYTES = 8 * 2**30


class Trial(Fork):
    """Runs the tests that reach a change until one fails.

    Args:
        pipe: See `Fork`.
        session: Where they run.
        change: What is tried.
        limits_s: How long tests may take, by their position in the session, in the order in
            which they run.
    """

    def __init__(
        self,
        pipe: TextIO,
        session: pytest.Session,
        *,
        change: Change,
        limits_s: Mapping[int, float],
    ) -> None:
        super().__init__(pipe)
        self._limits_s: Mapping[Any, float] = limits_s
        path = str(ROOT / change.file)
        if change.is_definition:
            _serve(path, change.text)
        else:
            self.pytest_runtestloop(session)
            _put_into_functions(path, change.text)
        signal.setitimer(signal.ITIMER_REAL, COLLECTION_S)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        # By position: the names of some tests hold the repr of what they test, and change with it.
        # A change may also take tests away, for example those of a strategy's probabilities.
        items = session.items
        self._limits_s = {
            items[x].nodeid: limit for x, limit in self._limits_s.items() if x < len(items)
        }
        by_name = {item.nodeid: item for item in items}
        session.items = [by_name[name] for name in self._limits_s]

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


def _put_into_functions(path: str, text: str) -> None:
    """Give the functions of a file, wherever they are in use, the code of another text."""
    codes = {code.co_qualname: code for code in codes_of(text, path)}
    for found in gc.get_objects():
        # Not isinstance: it asks some objects for their class, and they warn.
        if type(found) is FunctionType and found.__code__.co_filename == path:
            found.__code__ = codes[found.__code__.co_qualname]
