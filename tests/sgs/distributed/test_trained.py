"""Trainers in two processes end with the weights of averaged naive gradients."""

from typing import Any

import pytest

from tests.reference import RTOL
from tests.sgs.distributed.processes import Processes
from tests.sgs.distributed.trained import GRAPHS, HALF, PLACES, PLAIN
from tests.sgs.trainers.loops import HALF_RTOL, WRONG


def outcomes_of(processes: Processes, case: str) -> list[Any]:
    return processes.outcomes("tests.sgs.distributed.trained", case)


@pytest.mark.parametrize("name", [*PLAIN, *HALF])
def test_weights_are_those_of_averaged_naive_gradients(name: str, processes: Processes) -> None:
    assert max(outcomes_of(processes, name)) <= (HALF_RTOL if name in HALF else RTOL)


@pytest.mark.parametrize("name", PLAIN)
def test_other_micro_batches_give_other_weights_on_every_rank(
    name: str, processes: Processes
) -> None:
    """The negative control."""
    assert min(outcomes_of(processes, f"{name}, other micro-batches")) > WRONG


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("where", PLACES)
def test_each_bucket_is_reduced_once_per_step(where: str, graph: str, processes: Processes) -> None:
    for found in outcomes_of(processes, f"reductions, DDP of the {where}, {graph}"):
        assert found.pop("no_sync") == []
        assert len(found) == 3
        for buckets in found.values():
            assert buckets
            assert sorted(buckets) == list(range(len(buckets)))
        # DistributedDataParallel makes its buckets anew after the first steps.
        assert len(found["step 2"]) > 1


def test_calls_by_hand_reduce_each_bucket_once_per_micro_batch(processes: Processes) -> None:
    """The negative control."""
    assert outcomes_of(processes, "reductions, by hand") == [{"step 0": [0, 0, 0]}] * 2


@pytest.mark.parametrize("use_orig_params", [False, True])
@pytest.mark.parametrize("where", PLACES)
def test_fully_sharded_data_parallel_of_the_first_kind_is_refused(
    where: str, use_orig_params: bool, processes: Processes
) -> None:
    for message in outcomes_of(processes, f"FSDP1 of the {where}, {use_orig_params}"):
        assert "FullyShardedDataParallel has put views of a flat parameter" in message
