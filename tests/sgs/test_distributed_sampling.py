"""Subsets that are drawn in several processes: the weighted gradients of each, and their mean."""

import pytest

from tests.sgs.sampled_worker import CASES
from tests.sgs.torchrun import outcomes_of


@pytest.fixture(scope="module")
def outcomes() -> dict[str, list[str]]:
    """Run all cases in one group of two processes: most of the time is their start."""
    return outcomes_of("tests.sgs.sampled_worker")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.wrong is None])
def test_gradients_are_those_of_the_drawn_items_by_their_weights(
    name: str, outcomes: dict[str, list[str]]
) -> None:
    assert outcomes[name] == ["exact", "exact"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.wrong])
def test_other_items_or_weights_are_noticed(name: str, outcomes: dict[str, list[str]]) -> None:
    assert len(outcomes[name]) == 2
    assert all(outcome != "exact" for outcome in outcomes[name])
