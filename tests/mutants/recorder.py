"""Which lines of the library each test runs."""

import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import pytest

from tests.mutants.fork import Fork
from tests.mutation import ROOT


class Recorder(Fork):
    """Tells how long each test takes, and which lines of which files it runs."""

    def __init__(self, pipe: TextIO, packages: tuple[str, ...]) -> None:
        super().__init__(pipe)
        self._folders = tuple(str(ROOT / package) + os.sep for package in packages)
        self._lines: dict[str, set[int]] = defaultdict(set)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._lines.clear()
        started_s = time.perf_counter()
        sys.settrace(self._enter)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            seconds = time.perf_counter() - started_s
            self.tell(
                name=item.nodeid,
                position=item.session.items.index(item),
                seconds=seconds,
                lines=self._by_file(),
            )

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(self._folders):
            return None
        return self._step(frame, event, argument)

    def _step(self, frame: FrameType, event: str, argument: object) -> Any:
        self._lines[frame.f_code.co_filename].add(frame.f_lineno)
        return self._step

    def _by_file(self) -> dict[str, list[int]]:
        return {
            str(Path(name).relative_to(ROOT)): sorted(lines) for name, lines in self._lines.items()
        }
