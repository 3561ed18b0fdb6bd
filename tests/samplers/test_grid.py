"""`Grid` has a fixed stride along time, and is a lattice on the proposal map."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from samplers import AbstractSampler, Block, Candidates, Grid, Random
from samplers.grid import _lattice
from tests.samplers import laws
from tests.samplers.strategies import proposal_map

VALID = proposal_map(128)
NUM_PROPOSALS = int(VALID.sum())
SIX_PERCENT = 495


def test_fixed_grid_of_known_cases() -> None:
    grid = Grid(random_phase=False)
    assert grid.sample(Candidates(num_items=10), 5).tolist() == [1, 3, 5, 7, 9]
    assert grid.sample(Candidates(num_items=9), 3).tolist() == [1, 4, 7]
    assert grid.sample(Candidates(num_items=9), 1).tolist() == [4]


@given(num_items=st.integers(1, 300), seed=st.integers(0, 2**31), data=st.data())
def test_grid_along_time_is_a_shifted_stride(
    num_items: int, seed: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, num_items))
    index = Grid().sample(Candidates(num_items=num_items), count, generator=laws.seeded(seed))
    assert is_shifted_stride(index.tolist(), num_items)


def is_shifted_stride(index: list[int], num_items: int) -> bool:
    """Whether index[i] = floor(phase + i · stride) for one phase: the bounds on it must meet."""
    stride = Fraction(num_items, len(index))
    lowest = max(item - i * stride for i, item in enumerate(index))
    highest = min(item + 1 - i * stride for i, item in enumerate(index))
    return lowest < highest and index[-1] < num_items and index[0] >= 0


def test_uneven_index_is_not_a_shifted_stride() -> None:
    assert is_shifted_stride([1, 4, 7], 9)
    assert not is_shifted_stride([1, 3, 7], 9)


@given(num_items=st.integers(1, 40), data=st.data())
def test_every_item_is_on_equally_many_grids_along_time(
    num_items: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, num_items))
    hits = torch.zeros(num_items, dtype=torch.int64)
    for phase in range(num_items):
        hits[(torch.arange(count) * num_items + phase) // count] += 1
    assert hits.tolist() == [count] * num_items


def draw_maps(sampler: AbstractSampler, count: int, *, draws: int = 20) -> list[Tensor]:
    """Return the chosen cells as maps of 0 and 1."""
    candidates = Candidates(num_items=NUM_PROPOSALS, valid=VALID)
    generator = laws.seeded(0)
    maps = []
    for _ in range(draws):
        chosen = torch.zeros(NUM_PROPOSALS)
        chosen[sampler.sample(candidates, count, generator=generator)] = 1
        maps.append(torch.zeros(VALID.shape).masked_scatter(VALID, chosen))
    return maps


def box_variance(sampler: AbstractSampler, count: int, box: tuple[int, int]) -> float:
    """Return the variance of how many cells are chosen in equal boxes inside the map."""
    full = box_sums(VALID.float(), box) == box[0] * box[1]
    counts = torch.stack([box_sums(chosen, box)[full] for chosen in draw_maps(sampler, count)])
    return counts.var(dim=1).mean().item()


def box_sums(values: Tensor, box: tuple[int, int]) -> Tensor:
    return torch.nn.functional.avg_pool2d(values[None], box)[0] * (box[0] * box[1])


def nearest_distance(sampler: AbstractSampler, count: int) -> float:
    """Return the mean distance of a chosen cell to the nearest other, in ideal spacings."""
    distances = []
    for chosen in draw_maps(sampler, count):
        cells = chosen.nonzero().double()
        distances.append(torch.cdist(cells, cells).fill_diagonal_(torch.inf).amin(dim=1).mean())
    return (torch.stack(distances).mean() * (count / NUM_PROPOSALS) ** 0.5).item()


@pytest.mark.parametrize("box", [(16, 16), (8, 32), (32, 8)])
@pytest.mark.parametrize("count", [SIX_PERCENT, 2477])
def test_grid_on_the_map_fills_boxes_far_more_evenly_than_random(
    count: int, box: tuple[int, int]
) -> None:
    random = box_variance(Random(), count, box)
    assert box_variance(Grid(), count, box) < 0.1 * random
    assert box_variance(Grid(random_phase=False), count, box) < 0.1 * random
    assert box_variance(Block(), count, box) > 0.1 * random


@pytest.mark.parametrize("count", [83, SIX_PERCENT, 1651])
def test_cells_of_the_grid_keep_their_distance(count: int) -> None:
    assert nearest_distance(Grid(), count) > 0.85
    assert nearest_distance(Random(), count) < 0.65


def test_rows_or_columns_alone_would_fail_the_distance() -> None:
    stacked = torch.zeros(VALID.shape)
    stacked[:, ::16] = 1
    cells = (stacked.bool() & VALID).nonzero().double()
    nearest = torch.cdist(cells, cells).fill_diagonal_(torch.inf).amin(dim=1).mean().item()
    assert nearest * (len(cells) / NUM_PROPOSALS) ** 0.5 < 0.65


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_grid_is_exact_on_maps_of_any_shape(
    shape: tuple[int, int], seed: int, data: st.DataObject
) -> None:
    valid = torch.rand(shape, generator=laws.seeded(seed)) < 0.7
    valid[0, 0] = True
    candidates = Candidates(num_items=int(valid.sum()), valid=valid)
    count = data.draw(st.integers(1, candidates.num_items))
    index = Grid().sample(candidates, count, generator=laws.seeded(seed))
    laws.check_index(index, candidates, count)


@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_every_item_is_on_equally_many_lattices(
    shape: tuple[int, int], seed: int, data: st.DataObject
) -> None:
    valid = torch.rand(shape, generator=laws.seeded(seed)) < 0.7
    valid[0, 0] = True
    num_items = int(valid.sum())
    count = data.draw(st.integers(1, num_items))
    hits = torch.zeros(num_items, dtype=torch.int64)
    for first in range(num_items):
        index = _lattice(valid, torch.tensor([first]), count=count)
        assert first in index
        hits[index] += 1
    assert hits.tolist() == [count] * num_items


def test_fixed_grid_has_no_probabilities() -> None:
    with pytest.raises(ValueError, match=r"fixed grid is deterministic.*Grid\(random_phase=True\)"):
        Grid(random_phase=False).inclusion_probability(Candidates(num_items=6), 3)
