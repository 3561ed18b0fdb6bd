"""Probabilities of a few items against fractions, however large, small or alike their values."""

from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from torch import Tensor

from samplers import DPP, Candidates, GradientNorm, KernelDPP
from tests.samplers import laws, rational

seeds = st.integers(0, 2**31)
# From the smallest positive number to nearly the largest.
sizes = st.one_of(
    st.sampled_from([0.0, 5e-324, 1e-310, 1e-20, 1.0, 1 + 2**-52, 1e20, 1e300, 1.7e308]),
    st.floats(0, 1.7e308),
    st.floats(0, 1),
)
dtypes = st.sampled_from([torch.float64, torch.float32])
alike = st.sampled_from(["any", "spread", "equal", "one zero", "nearly parallel", "nearly equal"])


def check(found: Tensor, expected: list[Fraction], *, atol: float) -> None:
    for value, wanted in zip(found.tolist(), expected, strict=True):
        assert abs(Fraction(value) - wanted) <= atol


def features_of(kind: str, shape: tuple[int, int], *, dtype: torch.dtype, seed: int) -> Tensor:
    generator = laws.seeded(seed)
    features = torch.randn(shape, generator=generator, dtype=torch.float64)
    exponent = 40 * torch.rand(shape[0], 1, generator=generator, dtype=torch.float64) - 20
    match kind:
        case "spread":
            features = features * 10**exponent
        case "equal":
            features = features[torch.randint(2, (shape[0],), generator=generator) % shape[0]]
        case "one zero":
            features[0] = 0
        case "nearly parallel":
            features = (features[:1] + 1e-7 * features) * 10**exponent
        case "nearly equal":
            features = torch.eye(*shape, dtype=torch.float64) + 1e-12 * features
    return features.to(dtype)


@settings(max_examples=400)
@given(norms=st.lists(sizes, min_size=1, max_size=9), data=st.data())
def test_gradient_norm(norms: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(norms)))
    candidates = Candidates(
        num_items=len(norms), gradient_norm=torch.tensor(norms, dtype=torch.float64)
    )
    probability = GradientNorm().inclusion_probability(candidates, count)
    expected = rational.proportional_probability(norms, count)
    check(probability, expected, atol=1e-11)
    assert float(probability.sum()) == count
    assert [value > 0 for value in probability.tolist()] == [value > 0 for value in expected]


@pytest.mark.parametrize(
    ("norms", "count"),
    [
        # Sizes whose sum has an inverse above the largest number.
        ([1e-310, 1e-310, 3.0, 1e-20, 1e-8], 4),
        # Sizes that are lost in a sum with the largest, or 0 as a fraction of it.
        ([1e20, 1.0], 1),
        ([1e-20, 1.0, 1e300, 1e-300, 1.7e308, 1e-300, 1e8, 3.0, 1.7e308], 7),
    ],
)
def test_no_gradient_is_too_small_to_be_chosen(norms: list[float], count: int) -> None:
    candidates = Candidates(
        num_items=len(norms), gradient_norm=torch.tensor(norms, dtype=torch.float64)
    )
    probability = GradientNorm().inclusion_probability(candidates, count)
    check(probability, rational.proportional_probability(norms, count), atol=1e-11)
    assert float(probability.min()) > 0


@settings(max_examples=200)
@given(
    kind=alike,
    shape=st.tuples(st.integers(1, 7), st.integers(1, 8)),
    jitter=st.sampled_from([1e-6, 1e-2, 1.0, 1e3]),
    dtype=dtypes,
    seed=seeds,
    data=st.data(),
)
def test_dpp(
    kind: str,
    shape: tuple[int, int],
    jitter: float,
    dtype: torch.dtype,
    seed: int,
    data: st.DataObject,
) -> None:
    count = data.draw(st.integers(1, shape[0]))
    features = features_of(kind, shape, dtype=dtype, seed=seed)
    candidates = Candidates(num_items=shape[0], features=features)
    probability = DPP(jitter).inclusion_probability(candidates, count)
    expected = rational.cosine_probability(features, count, jitter)
    # What is left out of the largest eigenvalue's digits, beside the jitter; 1e-11 by default.
    neglected = 10 * shape[0] ** 2 * torch.finfo(torch.float64).eps
    check(probability, expected, atol=1e-14 + neglected / jitter)


def test_nearly_parallel_features_are_equally_likely() -> None:
    """Their second eigenvalue is just above what counts as rounding, and its vector inexact."""
    for seed in range(20):
        features = features_of("nearly parallel", (3, 2), dtype=torch.float64, seed=seed)
        candidates = Candidates(num_items=3, features=features)
        probability = DPP().inclusion_probability(candidates, 1)
        check(probability, [Fraction(1, 3)] * 3, atol=1e-12)


@settings(max_examples=200)
@given(
    rank=st.integers(1, 6),
    exponent=st.integers(-140, 140),
    spread=st.floats(0, 2),
    seed=seeds,
    data=st.data(),
)
def test_kernel_dpp(
    rank: int, exponent: int, spread: float, seed: int, data: st.DataObject
) -> None:
    generator = laws.seeded(seed)
    # Whole numbers of few digits, whose products are exact.
    length = (10 ** (spread * torch.rand(6, 1, generator=generator, dtype=torch.float64))).floor()
    factors = length * torch.randint(-9, 10, (6, rank), generator=generator)
    kernel = (factors @ factors.T).ldexp(torch.tensor(exponent))
    found = int(torch.linalg.matrix_rank(kernel))
    assume(found > 0)
    count = data.draw(st.integers(1, found))
    candidates = Candidates(num_items=6, kernel=kernel)
    probability = KernelDPP().inclusion_probability(candidates, count)
    ones = [Fraction(1)] * 6
    expected = rational.k_dpp_probability(rational.fractions_of(kernel), count, ones)
    # Eigenvalues are off by the rounding of the largest.
    weights = torch.linalg.eigvalsh(kernel).flip(0)
    check(probability, expected, atol=1e-14 * float(weights[0] / weights[count - 1]))


def test_probabilities_of_other_values_are_rejected() -> None:
    features = features_of("spread", (5, 2), dtype=torch.float64, seed=0)
    probability = DPP().inclusion_probability(Candidates(num_items=5, features=features), 3)
    check(probability, rational.cosine_probability(features, 3, 1e-2), atol=1e-12)
    for wrong, jitter in ((features.roll(1, dims=0), 1e-2), (features, 1.001e-2)):
        with pytest.raises(AssertionError):
            check(probability, rational.cosine_probability(wrong, 3, jitter), atol=1e-12)
    with pytest.raises(AssertionError):
        check(torch.tensor([0.5, 0.5]), rational.proportional_probability([1.0, 1.0001], 1), atol=0)
