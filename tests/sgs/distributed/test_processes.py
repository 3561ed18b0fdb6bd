"""A process that dies fails its own case, and says why."""

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest
from torch import distributed as dist

from tests.sgs.distributed.processes import Processes

HERE = "tests.sgs.distributed.test_processes"


def outcome_of(case: str) -> int:
    if case == "raises" and dist.get_rank() == 1:
        raise ValueError("why it ended")
    if case == "aborts" and dist.get_rank() == 0:
        os.kill(os.getpid(), signal.SIGABRT)
    dist.barrier()
    return dist.get_rank()


def test_a_process_that_dies_fails_its_own_case(tmp_path: Path) -> None:
    with closing(Processes(tmp_path)) as processes:
        for case, said in (("raises", "why it ended"), ("aborts", "exit -6")):
            assert processes.outcomes(HERE, "lives") == [0, 1]
            with pytest.raises(pytest.fail.Exception, match=said):
                processes.outcomes(HERE, case)


def test_a_process_that_dies_after_all_outcomes_is_told(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    assert processes.outcomes(HERE, "lives") == [0, 1]
    processes._running[1].kill()
    with pytest.raises(pytest.fail.Exception, match="at its exit"):
        processes.close()
