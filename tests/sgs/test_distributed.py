"""Several processes under torchrun: the mean of the naive gradients, or a refusal."""

import re

import pytest

from tests.sgs.distributed_kinds import ALONE
from tests.sgs.distributed_worker import CASES
from tests.sgs.outcomes import ALL_KINDS, DISTRIBUTED, Exact, Refused, Undefined, outcome_in
from tests.sgs.torchrun import outcomes_of

FOREIGN_ROOT = "modules inside of the encoder are sharded, and so is a module around it"
REFUSED = {
    "FSDP2 of blocks and the model": FOREIGN_ROOT,
    "FSDP2 of the encoder and the model": FOREIGN_ROOT,
    "FSDP2 of the sampler and the model, budget": "sgs.plan before fully_shard()",
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, list[str]]:
    """Run all cases in one group of two processes: most of the time is their start."""
    return outcomes_of("tests.sgs.distributed_worker")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_mean_of_the_naive_ones(
    name: str, outcomes: dict[str, list[str]]
) -> None:
    assert len(outcomes[name]) == 2
    if name in REFUSED:
        assert all(REFUSED[name] in outcome for outcome in outcomes[name])
    else:
        assert outcomes[name] == ["exact", "exact"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_KINDS)
@pytest.mark.parametrize("setting", DISTRIBUTED)
def test_kind_is_exact_or_refused(setting: str, name: str, outcomes: dict[str, list[str]]) -> None:
    found = outcomes[f"{setting}: {name}"]
    assert len(found) == 2
    match outcome_in(setting, name):
        case Exact():
            assert found == ["exact", "exact"]
        case Refused(message=message):
            assert all(re.match(f"(?!{ALONE}).*{message}", x) for x in found), found
        case Undefined(message=message):
            assert all(re.match(f"{ALONE}.*{message}", x) for x in found), found
