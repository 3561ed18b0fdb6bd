"""Forks of a pytest session that tell the session what they see."""

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, TextIO

import pytest

# The exit status of a fork in which nothing could be tried.
BROKEN = 70


class Fork:
    """What plugins of all forks do: tell which tests fail, and end with the session."""

    def __init__(self, pipe: TextIO) -> None:
        self._pipe = pipe

    def tell(self, **answer: object) -> None:
        self._pipe.write(json.dumps(answer) + "\n")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tell(failed=report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.tell(failed=report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        os._exit(int(exitstatus))


def forked(
    session: pytest.Session, plugin: Callable[[TextIO], Fork]
) -> tuple[list[dict[str, Any]], bool] | None:
    """Go on twice: in a fork with a plugin, and here when the fork has ended.

    Returns:
        What the plugin told and whether all tests passed; None in the fork.
    """
    read, write = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        os.close(read)
        try:
            session.config.pluginmanager.register(plugin(os.fdopen(write, "w", buffering=1)))
        except BaseException:
            traceback.print_exc()
            os._exit(BROKEN)
        return None
    os.close(write)
    with os.fdopen(read) as pipe:
        # The last line of a fork that was ended may be half a line.
        told = [json.loads(line) for line in pipe if line.endswith("\n")]
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    # What takes too long is ended by a signal, of negative number.
    if status > 0 and not any("failed" in x for x in told):
        raise SystemExit(f"A fork ended with {status}, although no test failed.")
    return told, status == 0
