"""Models wrapped for two processes: the mean of the naive gradients, or a refusal."""

import pytest

from tests.sgs.distributed.processes import Processes
from tests.sgs.distributed.wrapped import CASES

FOREIGN_ROOT = "modules inside of the encoder are sharded, and so is a module around it"
REFUSED = {
    "FSDP2 of blocks and the model": FOREIGN_ROOT,
    "FSDP2 of the encoder and the model": FOREIGN_ROOT,
    "FSDP2 of the sampler and the model, budget": "Estimate or plan before fully_shard()",
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_mean_of_the_naive_ones(name: str, processes: Processes) -> None:
    for outcome in processes.outcomes("tests.sgs.distributed.wrapped", name):
        expected = REFUSED.get(name, "exact")
        assert expected in outcome
