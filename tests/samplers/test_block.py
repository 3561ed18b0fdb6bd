"""`Block` is one run of items, or one square of the map that reaches every edge."""

import pytest
import torch
from hypothesis import given, strategies as st

from samplers import Block, Candidates, Random
from tests.samplers import laws
from tests.samplers.strategies import proposal_map


def is_run(index: list[int]) -> bool:
    return index == list(range(index[0], index[-1] + 1))


@given(num_items=st.integers(1, 40), seed=st.integers(0, 2**31), data=st.data())
def test_block_along_time_is_one_run(num_items: int, seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, num_items))
    index = Block().sample(Candidates(num_items=num_items), count, generator=laws.seeded(seed))
    assert is_run(index.tolist())


def test_random_sample_is_not_one_run() -> None:
    index = Random().sample(Candidates(num_items=40), 10, generator=laws.seeded(0))
    assert not is_run(index.tolist())


@given(num_items=st.integers(1, 25), data=st.data())
def test_probability_along_time_against_all_runs(num_items: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, num_items))
    num_runs = num_items - count + 1
    expected = torch.zeros(num_items, dtype=torch.float64)
    for first in range(num_runs):
        expected[first : first + count] += 1 / num_runs
    probability = Block().inclusion_probability(Candidates(num_items=num_items), count)
    torch.testing.assert_close(probability, expected, rtol=1e-12, atol=1e-12)


def test_every_run_is_equally_likely() -> None:
    generator = laws.seeded(0)
    candidates = Candidates(num_items=7)
    firsts = [int(Block().sample(candidates, 3, generator=generator)[0]) for _ in range(2000)]
    laws.check_frequencies([firsts.count(first) for first in range(5)], [1.0] * 5)
    with pytest.raises(AssertionError):
        laws.check_frequencies(
            [min(firsts[:1000].count(i), 150) for i in range(5)], [1, 1, 1, 1, 2]
        )


def all_blocks(valid: torch.Tensor, count: int) -> list[list[int]]:
    """Build the block of every centre from its definition: sort by distance, then position."""
    cells = [tuple(cell) for cell in valid.nonzero().tolist()]
    blocks = []
    for row, column in cells:
        distance = [max(abs(row - r), abs(column - c)) for r, c in cells]
        nearest = sorted(range(len(cells)), key=lambda item: (distance[item], item))
        blocks.append(sorted(nearest[:count]))
    return blocks


@pytest.mark.parametrize("num_snippets", [1, 5, 13])
@pytest.mark.parametrize("count", [1, 9, 40])
def test_probability_on_the_map_against_all_centres(num_snippets: int, count: int) -> None:
    valid = proposal_map(num_snippets)
    num_items = int(valid.sum())
    count = min(count, num_items)
    expected = torch.zeros(num_items, dtype=torch.float64)
    for block in all_blocks(valid, count):
        expected[block] += 1 / num_items
    probability = Block().inclusion_probability(Candidates(num_items=num_items, valid=valid), count)
    torch.testing.assert_close(probability, expected, rtol=1e-12, atol=1e-12)


def test_every_block_on_the_map_is_equally_likely() -> None:
    valid = proposal_map(4)
    candidates = Candidates(num_items=10, valid=valid)
    expected = [tuple(block) for block in all_blocks(valid, 4)]
    outcomes = sorted(set(expected))
    generator = laws.seeded(1)
    drawn = [
        tuple(Block().sample(candidates, 4, generator=generator).tolist()) for _ in range(3000)
    ]
    laws.check_frequencies(
        [drawn.count(block) for block in outcomes], [expected.count(block) for block in outcomes]
    )
    assert set(drawn) <= set(outcomes)


def test_block_away_from_the_edges_is_a_square() -> None:
    valid = torch.ones(11, 11, dtype=torch.bool)
    candidates = Candidates(num_items=121, valid=valid)
    squares = 0
    for seed in range(30):
        index = Block().sample(candidates, 25, generator=laws.seeded(seed))
        rows, columns = index // 11, index % 11
        # One cell away from the edges on every side: nothing of the block was cut off.
        if all(axis.min() > 0 and axis.max() < 10 for axis in (rows, columns)):
            assert rows.unique().tolist() == list(range(int(rows[0]), int(rows[0]) + 5))
            assert len(columns.unique()) == 5
            squares += 1
    assert squares >= 5


def test_block_can_reach_every_cell_of_the_map() -> None:
    valid = proposal_map(20)
    candidates = Candidates(num_items=210, valid=valid)
    assert Block().inclusion_probability(candidates, 16).min() >= 1 / 210
