"""`KernelDPP` samples the exact k-DPP of any kernel that has one."""

from collections import Counter

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from samplers import DPP, Candidates, KernelDPP
from tests.samplers import laws
from tests.samplers.enumeration import cosine_kernel, inclusion_probability, subset_probability


def random_kernel(size: int, rank: int, seed: int) -> Tensor:
    factors = torch.randn(size, rank, generator=laws.seeded(seed), dtype=torch.float64)
    return factors @ factors.T


def candidates_of(kernel: Tensor) -> Candidates:
    return Candidates(num_items=len(kernel), kernel=kernel)


@given(
    rank=st.integers(1, 8),
    seed=st.integers(0, 2**31),
    exponent=st.integers(-12, 12),
    data=st.data(),
)
def test_probability_against_enumeration(
    rank: int, seed: int, exponent: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, min(rank, 6)))
    kernel = random_kernel(6, rank, seed)
    expected = inclusion_probability(kernel, count)
    probability = KernelDPP().inclusion_probability(candidates_of(kernel * 10.0**exponent), count)
    torch.testing.assert_close(probability, expected, rtol=0, atol=1e-8)
    laws.check_probability(probability, candidates_of(kernel), count)


@pytest.mark.parametrize("rank", [3, 6])
def test_subsets_against_determinants(rank: int) -> None:
    kernel = random_kernel(6, rank, 1)
    generator = laws.seeded(0)
    counts = Counter(
        tuple(KernelDPP().sample(candidates_of(kernel), 3, generator=generator).tolist())
        for _ in range(1500)
    )
    subsets, probability = subset_probability(kernel, 3)
    by_likelihood = probability.argsort(descending=True).tolist()
    likely = [i for i in by_likelihood if probability[i] > 0.01]
    # Those that are seldom drawn are counted together with the most likely one.
    observed = [counts[subsets[i]] for i in likely]
    observed[0] += 1500 - sum(observed)
    expected = [float(probability[i]) for i in likely]
    expected[0] += 1 - sum(expected)
    laws.check_frequencies(observed, expected)
    with pytest.raises(AssertionError):
        laws.check_frequencies(observed, expected[::-1])


def test_kernel_of_features_gives_the_probabilities_of_dpp() -> None:
    features = torch.randn(30, 4, generator=laws.seeded(0))
    by_features = DPP(0.1).inclusion_probability(Candidates(num_items=30, features=features), 9)
    by_kernel = KernelDPP().inclusion_probability(candidates_of(cosine_kernel(features, 0.1)), 9)
    torch.testing.assert_close(by_kernel, by_features, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_rounding_of_the_type_is_no_reason_to_refuse(dtype: torch.dtype) -> None:
    candidates = candidates_of(random_kernel(200, 50, 0).to(dtype))
    index = KernelDPP().sample(candidates, 20, generator=laws.seeded(0))
    laws.check_index(index, candidates, 20)


def test_a_diagonal_kernel_chooses_by_its_entries() -> None:
    kernel = torch.diag(torch.tensor([1.0, 2.0, 0.0, 5.0], dtype=torch.float64))
    probability = KernelDPP().inclusion_probability(candidates_of(kernel), 1)
    torch.testing.assert_close(probability, kernel.diag() / 8)


@pytest.mark.parametrize("seed", range(5))
def test_items_that_nothing_else_can_replace_are_certain_and_no_more(seed: int) -> None:
    kernel = torch.zeros(9, 9, dtype=torch.float64)
    kernel[:4, :4], kernel[4:, 4:] = random_kernel(4, 4, seed), random_kernel(5, 2, seed + 5)
    probability = KernelDPP().inclusion_probability(candidates_of(kernel), 6)
    torch.testing.assert_close(probability[:4], torch.ones(4, dtype=torch.float64))
    # Rounding would take some beyond.
    assert probability.max() <= 1


def test_more_items_than_the_rank_are_refused() -> None:
    candidates = candidates_of(random_kernel(6, 3, 0))
    with pytest.raises(ValueError, match=r"rank 4 or more for count=4, got rank 3"):
        KernelDPP().sample(candidates, 4)
    with pytest.raises(ValueError, match=r"rank 4 or more for count=4, got rank 3"):
        KernelDPP().inclusion_probability(candidates, 4)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
def test_rounding_of_the_type_adds_no_rank(dtype: torch.dtype) -> None:
    kernel = random_kernel(40, 3, 0).to(dtype)
    index = KernelDPP().sample(candidates_of(kernel), 3, generator=laws.seeded(0))
    assert len(index) == 3
    with pytest.raises(ValueError, match=r"rank 4 or more for count=4, got rank 3"):
        KernelDPP().sample(candidates_of(kernel), 4)


def test_small_eigenvalues_without_negative_ones_are_no_rounding() -> None:
    kernel = torch.diag(torch.tensor([1.0, 2.0, 1e-9, 3e-9]))
    probability = KernelDPP().inclusion_probability(candidates_of(kernel), 3)
    torch.testing.assert_close(
        probability, torch.tensor([1.0, 1.0, 0.25, 0.75], dtype=torch.float64), rtol=0, atol=1e-7
    )


def test_kernel_that_is_not_symmetric_is_refused() -> None:
    kernel = torch.eye(4)
    kernel[1, 2] = 0.25
    with pytest.raises(ValueError, match=r"symmetric kernel, got entries that differ by 0\.25"):
        KernelDPP().sample(candidates_of(kernel), 2)


@pytest.mark.parametrize("largest", [1.0, 0.0, -0.25])
def test_kernel_with_negative_determinants_is_refused(largest: float) -> None:
    kernel = torch.diag(torch.tensor([largest, largest, -0.5]))
    with pytest.raises(ValueError, match=r"semi-definite kernel, got the eigenvalue -0\.5"):
        KernelDPP().sample(candidates_of(kernel), 2)


def test_kernel_that_is_not_finite_is_refused() -> None:
    kernel = torch.eye(4)
    kernel[3, 3] = torch.nan
    with pytest.raises(ValueError, match=r"expected finite kernel.* 1 of 4 rows: 3\."):
        KernelDPP().sample(candidates_of(kernel), 2)


# Of the entries, and of the computation of eigenvalues.
ROUNDING = (1 + 100) * torch.finfo(torch.float64).eps


@pytest.mark.parametrize("largest", [0.001, 4.0])
def test_entries_may_differ_by_the_rounding_of_the_largest(largest: float) -> None:
    kernel = largest * torch.eye(4, dtype=torch.float64)
    kernel[1, 2] = 10 * (ROUNDING * largest)
    KernelDPP().sample(candidates_of(kernel), 2)
    kernel[1, 2] *= 1.1
    with pytest.raises(ValueError, match="expected a symmetric kernel"):
        KernelDPP().sample(candidates_of(kernel), 2)


@pytest.mark.parametrize("largest", [0.001, 4.0])
def test_eigenvalues_may_be_negative_by_the_rounding_of_all_items(largest: float) -> None:
    weights = torch.full((16,), largest, dtype=torch.float64)
    weights[3] = -ROUNDING * largest * 16
    KernelDPP().sample(candidates_of(weights.diag()), 2)
    weights[3] *= 1.1
    with pytest.raises(ValueError, match="expected a positive semi-definite kernel"):
        KernelDPP().sample(candidates_of(weights.diag()), 2)


def test_rounding_of_eigenvalues_is_no_reason_to_refuse() -> None:
    # Of equal items they are the less exact the more there are.
    candidates = candidates_of(torch.ones(1000, 1000, dtype=torch.float64))
    probability = KernelDPP().inclusion_probability(candidates, 1)
    torch.testing.assert_close(probability, torch.full_like(probability, 1e-3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_negative_eigenvalue_is_no_rounding_of_a_small_type(dtype: torch.dtype) -> None:
    kernel = torch.eye(100)
    kernel[:2, :2] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match=r"got the eigenvalue -1\."):
        KernelDPP().sample(candidates_of(kernel.to(dtype)), 1)


@pytest.mark.parametrize(("factor", "rank"), [(2.0, 14), (2.1, 15)])
def test_eigenvalues_up_to_twice_the_negative_ones_count_as_zero(factor: float, rank: int) -> None:
    weights = torch.ones(16, dtype=torch.float64)
    negative = 2.0**-45
    weights[3], weights[5] = -negative, factor * negative
    KernelDPP().sample(candidates_of(weights.diag()), rank)
    with pytest.raises(ValueError, match=f"got rank {rank}"):
        KernelDPP().sample(candidates_of(weights.diag()), rank + 1)
