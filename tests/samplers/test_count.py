"""`count_from_ratio` rounds what the user wrote, not its binary approximation."""

import decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

from aps import ProposalSampler, dense_proposals
from samplers import Candidates, Grid, Random, count_from_ratio


@pytest.mark.parametrize(
    ("ratio", "num_items", "count"),
    [
        (0.29, 100, 29),
        (0.06, 8256, 495),
        (0.3, 128, 38),
        (0.5, 3, 2),
        (0.145, 100, 15),
        (1.0, 7, 7),
        (1e-9, 7, 1),
        (0.999, 7, 7),
        (1 / 3, 9, 3),
    ],
)
def test_count_of_known_cases(ratio: float, num_items: int, count: int) -> None:
    assert count_from_ratio(ratio, num_items) == count


@pytest.mark.usefixtures("raw_errors")
def test_integer_one_keeps_all() -> None:
    assert count_from_ratio(1, 7) == 7


@given(percent=st.integers(1, 100), num_items=st.integers(1, 100_000))
def test_count_against_exact_rounding_of_percents(percent: int, num_items: int) -> None:
    half_up = int(Fraction(percent * num_items, 100) + Fraction(1, 2))
    assert count_from_ratio(percent / 100, num_items) == max(1, half_up)


@given(
    ratio=st.floats(0, 1, exclude_min=True, allow_subnormal=False),
    num_items=st.integers(1, 100_000),
)
def test_count_is_between_one_and_all(ratio: float, num_items: int) -> None:
    assert 1 <= count_from_ratio(ratio, num_items) <= num_items


def test_truncated_float_product_would_differ() -> None:
    assert int(0.29 * 100) == 28


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.001, float("nan"), float("inf")])
def test_ratio_outside_unit_interval_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=r"ratio=.*expected a value in \(0, 1\], got"):
        count_from_ratio(ratio, 10)


@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize("num_items", [0, -3, 10.0])
def test_no_items_are_refused(num_items: int) -> None:
    with pytest.raises(ValueError, match=r"num_items=.*expected an integer of at least 1, got"):
        count_from_ratio(0.5, num_items)


def test_context_of_decimals_does_not_matter() -> None:
    with decimal.localcontext(prec=2):
        assert count_from_ratio(0.06, 8256) == 495


def test_ratio_of_numpy_is_accepted() -> None:
    assert count_from_ratio(np.float64(0.29), 100) == 29


def test_integers_of_numpy_are_counts(raw_errors: None) -> None:
    candidates = Candidates(num_items=np.int64(5))
    assert len(Random().sample(candidates, np.int64(2))) == 2
    assert Grid().inclusion_probability(candidates, np.int32(5)).tolist() == [1.0] * 5
    assert count_from_ratio(np.float32(0.5), np.int64(8)) == 4
    assert len(dense_proposals(np.int64(3), np.int64(2))) == 5
    index = ProposalSampler(Random(), num_snippets=np.int64(4))(batch_size=np.int64(2))
    assert index.shape == (2, 1)
