"""`IoUBalanced` and `ScaleBalanced` draw the same number from every bin, always exactly `count`."""

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from samplers import AbstractSampler, Candidates, IoUBalanced, Random, ScaleBalanced
from samplers._strata import water_fill
from tests.samplers import laws

BALANCED = [(IoUBalanced(), "tiou"), (ScaleBalanced(), "scale")]
both = pytest.mark.parametrize(("sampler", "field"), BALANCED, ids=["tiou", "scale"])


def labelled(field: str, values: list[float], dtype: torch.dtype = torch.float32) -> Candidates:
    return Candidates(num_items=len(values), **{field: torch.tensor(values, dtype=dtype)})


def bin_counts(values: Tensor) -> list[int]:
    low, high = int((values < 0.3).sum()), int((values >= 0.7).sum())
    return [low, len(values) - low - high, high]


sizes_and_count = st.lists(st.integers(0, 12), min_size=1, max_size=4).flatmap(
    lambda sizes: st.tuples(st.just(sizes), st.integers(0, sum(sizes)))
)


@given(sizes_and_count)
def test_quotas_are_exact_and_as_equal_as_the_sizes_allow(case: tuple[list[int], int]) -> None:
    sizes, count = case
    quotas = water_fill(sizes, count)
    assert sum(quotas) == count
    assert all(0 <= quota <= size for quota, size in zip(quotas, sizes, strict=True))
    # Only a bin that gave all it has may be short by more than the remainder of a division.
    for quota, size in zip(quotas, sizes, strict=True):
        assert quota == size or quota >= max(quotas) - 1


@pytest.mark.parametrize(
    ("sizes", "count", "quotas"),
    [
        ([9, 9, 9], 9, [3, 3, 3]),
        ([9, 9, 9], 10, [3, 3, 4]),
        ([9, 9, 9], 11, [3, 4, 4]),
        ([99, 9, 9], 10, [4, 3, 3]),
        ([99, 9, 1], 10, [5, 4, 1]),
        ([99, 9, 0], 10, [5, 5, 0]),
        ([99, 0, 0], 10, [10, 0, 0]),
        ([9, 99, 99], 1, [0, 0, 1]),
    ],
)
def test_quotas_of_known_cases(sizes: list[int], count: int, quotas: list[int]) -> None:
    assert water_fill(sizes, count) == quotas


@both
def test_bins_get_equal_counts(sampler: AbstractSampler, field: str) -> None:
    values = torch.rand(600, generator=laws.seeded(0)) ** 2
    candidates = Candidates(num_items=600, **{field: values})
    index = sampler.sample(candidates, 90, generator=laws.seeded(0))
    assert bin_counts(values[index]) == [30, 30, 30]
    random = Random().sample(candidates, 90, generator=laws.seeded(0))
    assert bin_counts(values[random]) != [30, 30, 30]


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_edges_belong_to_the_higher_bin_and_one_to_the_last(
    sampler: AbstractSampler, field: str, dtype: torch.dtype
) -> None:
    candidates = labelled(field, [0.0, 0.29, 0.1, 0.3, 0.69, 0.5, 0.7, 1.0, 0.8], dtype)
    # Three bins of three items: with a quota of 1, 1, 2 only the last has another probability.
    probability = sampler.inclusion_probability(candidates, 4)
    expected = torch.tensor([1 / 3] * 6 + [2 / 3] * 3, dtype=torch.float64)
    torch.testing.assert_close(probability, expected)
    # A fourth item below 0.3 tells the first two bins apart.
    moved = labelled(field, [0.0, 0.29, 0.1, 0.3, 0.69, 0.5, 0.7, 1.0, 0.8, 0.2], dtype)
    probability = sampler.inclusion_probability(moved, 3)
    expected = torch.tensor([1 / 4] * 3 + [1 / 3] * 6 + [1 / 4], dtype=torch.float64)
    torch.testing.assert_close(probability, expected)


@both
def test_items_of_a_bin_are_equally_likely(sampler: AbstractSampler, field: str) -> None:
    candidates = labelled(field, [0.0, 0.1, 0.2, 0.9])
    hits = laws.count_hits(
        lambda generator: sampler.sample(candidates, 2, generator=generator), 4, 3000
    )
    laws.check_hits(hits, torch.tensor([1 / 3, 1 / 3, 1 / 3, 1.0]), 3000)
    with pytest.raises(AssertionError):
        laws.check_hits(hits, torch.full((4,), 0.5), 3000)


@both
def test_empty_bins_leave_their_quota_to_the_others(sampler: AbstractSampler, field: str) -> None:
    candidates = labelled(field, [0.0] * 20)
    index = sampler.sample(candidates, 7, generator=laws.seeded(0))
    laws.check_index(index, candidates, 7)


@both
def test_rounding_beyond_one_is_accepted(sampler: AbstractSampler, field: str) -> None:
    candidates = labelled(field, [1.0000001, 0.0, -1e-7])
    assert sampler.sample(candidates, 3).tolist() == [0, 1, 2]
    at_most = labelled(field, [1 + 1e-5, 0.0, -1e-5], torch.float64)
    assert sampler.sample(at_most, 3).tolist() == [0, 1, 2]


@both
def test_refusal_compares_in_double_precision(sampler: AbstractSampler, field: str) -> None:
    # In float32 it equals the bound.
    candidates = labelled(field, [0.5, 1.00001], torch.float32)
    with pytest.raises(ValueError, match=rf"expected {field} in \[0, 1\], got 1\.00001.* 1 of 2"):
        sampler.sample(candidates, 1)


@both
@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), float("inf")])
def test_values_outside_the_unit_interval_are_refused(
    sampler: AbstractSampler, field: str, value: float
) -> None:
    candidates = labelled(field, [0.5, value])
    with pytest.raises(
        ValueError, match=rf"expected {field} in \[0, 1\], got .* 1 of \d+ rows: 1\."
    ):
        sampler.sample(candidates, 1)
