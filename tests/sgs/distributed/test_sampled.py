"""Subsets that are drawn in two processes: the weighted gradients of each, and their mean."""

import pytest

from tests.sgs.distributed.processes import Processes
from tests.sgs.distributed.sampled import CASES


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_drawn_items_by_their_weights(
    name: str, processes: Processes
) -> None:
    """In negative controls the reference takes other items or weights."""
    for outcome in processes.outcomes("tests.sgs.distributed.sampled", name):
        assert (outcome == "exact") == (CASES[name].wrong is None), outcome
