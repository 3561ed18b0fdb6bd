"""No strategy forms a matrix of every item by every item, unless it is given one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from samplers import DPP
from tests.samplers import laws
from tests.samplers.strategies import ALL_SAMPLERS, Case, labelled_candidates, proposal_map

VALID = proposal_map(40)
NUM_ITEMS = int(VALID.sum())


class LargestTensor(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.num_elements = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.num_elements = max(self.num_elements, leaf.numel())
        return result


@contextmanager
def no_square_matrix_of(size: int) -> Iterator[None]:
    with LargestTensor() as largest:
        yield
    assert largest.num_elements < size**2 / 8


# A kernel is such a matrix itself.
@pytest.mark.parametrize(
    "case", [case for case in ALL_SAMPLERS if "kernel" not in case.sampler.requires], ids=str
)
def test_memory_is_not_quadratic_in_the_number_of_items(case: Case) -> None:
    valid = VALID if case.on_map else None
    candidates = replace(labelled_candidates(NUM_ITEMS, channels=8), valid=valid)
    with no_square_matrix_of(NUM_ITEMS):
        case.sampler.sample(candidates, 49, generator=laws.seeded(0))
        if case.has_probability:
            case.sampler.inclusion_probability(candidates, 49)


def test_kernel_of_all_items_is_noticed() -> None:
    features = torch.randn(NUM_ITEMS, 8, generator=laws.seeded(0))
    with pytest.raises(AssertionError), no_square_matrix_of(NUM_ITEMS):
        features @ features.T


def test_no_matrix_of_all_channels_is_formed_when_the_items_are_fewer() -> None:
    candidates = labelled_candidates(20, channels=1000)
    with no_square_matrix_of(1000):
        DPP().sample(candidates, 6, generator=laws.seeded(0))
        DPP().inclusion_probability(candidates, 6)
