"""Log-space polynomials and the subsets drawn with them, against enumeration."""

import math
from collections import Counter
from itertools import combinations

import pytest
import torch
from hypothesis import given, strategies as st

from samplers._elementary_symmetric import draw_subset, log_polynomials, membership
from tests.samplers import laws
from tests.samplers.enumeration import elementary_symmetric

WEIGHTS = torch.tensor([0.1, 2.0, 1.0, 5.0, 0.7], dtype=torch.float64)


@given(num_weights=st.integers(0, 7), max_degree=st.integers(0, 7), seed=st.integers(0, 2**31))
def test_polynomials_against_enumeration(num_weights: int, max_degree: int, seed: int) -> None:
    weights = torch.rand(num_weights, generator=laws.seeded(seed), dtype=torch.float64) + 0.01
    table = log_polynomials(weights.log(), max_degree)
    for n in range(num_weights + 1):
        expected = [
            elementary_symmetric(weights[:n].tolist(), degree) for degree in range(max_degree + 1)
        ]
        torch.testing.assert_close(
            table[n].exp(), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0
        )


def test_polynomials_against_dppy() -> None:
    dppy = pytest.importorskip("dppy.exact_sampling", reason="the extra [dpp] is not installed")
    theirs = torch.from_numpy(dppy.elementary_symmetric_polynomials(WEIGHTS.numpy(), 3))
    torch.testing.assert_close(log_polynomials(WEIGHTS.log(), 3).exp().T, theirs)


def test_polynomials_beyond_float64_stay_finite() -> None:
    # Binomial coefficients: e_l of N ones is N over l.
    table = log_polynomials(torch.zeros(8256, dtype=torch.float64), 495)
    expected = math.lgamma(8257) - math.lgamma(496) - math.lgamma(8256 - 495 + 1)
    assert expected > math.log(torch.finfo(torch.float64).max)
    torch.testing.assert_close(table[-1, -1].item(), expected, rtol=1e-10, atol=0)


def test_subsets_against_their_products() -> None:
    table = log_polynomials(WEIGHTS.log(), 2)
    generator = laws.seeded(0)
    counts = Counter(
        tuple(sorted(draw_subset(WEIGHTS.log(), table, size=2, generator=generator)))
        for _ in range(10_000)
    )
    subsets = list(combinations(range(5), 2))
    products = [float(WEIGHTS[list(subset)].prod()) for subset in subsets]
    laws.check_frequencies([counts[subset] for subset in subsets], products)
    with pytest.raises(AssertionError):
        laws.check_frequencies([counts[subset] for subset in subsets], [1.0] * len(subsets))


@pytest.mark.parametrize(("uniform", "is_drawn"), [(1 - 1e-12, True), (1 - 1e-14, False)])
def test_weight_is_drawn_up_to_its_probability(
    uniform: float, is_drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second of two weights has probability 1 - 1e-13: single precision rounds it to 1.
    log_weights = torch.tensor([1.0, 1e13], dtype=torch.float64).log()
    drawn = torch.full((2,), uniform, dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *_, dtype, **__: drawn.to(dtype))
    table = log_polynomials(log_weights, 1)
    subset = draw_subset(log_weights, table, size=1, generator=laws.seeded(0))
    assert (subset == [1]) is is_drawn


@pytest.mark.parametrize("size", [0, 1, 5])
def test_subset_has_its_size(size: int) -> None:
    table = log_polynomials(WEIGHTS.log(), 5)
    subset = draw_subset(WEIGHTS.log(), table, size=size, generator=laws.seeded(0))
    assert len(set(subset)) == size


def test_membership_against_enumeration_over_sizes() -> None:
    size_weights = torch.tensor([0.3, 0.1, 0.4, 0.9], dtype=torch.float64)
    expected = torch.zeros(5, dtype=torch.float64)
    for size, size_weight in enumerate(size_weights):
        total = elementary_symmetric(WEIGHTS.tolist(), size)
        for subset in combinations(range(5), size):
            expected[list(subset)] += size_weight * WEIGHTS[list(subset)].prod() / total
    log_weights = WEIGHTS.log()
    table = log_polynomials(log_weights, 3)
    probability = membership(log_weights, table, size_weights=size_weights)
    torch.testing.assert_close(probability, expected, rtol=1e-12, atol=0)
    assert torch.equal(log_weights, WEIGHTS.log())
