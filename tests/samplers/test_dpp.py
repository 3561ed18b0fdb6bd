"""`DPP` samples the exact k-DPP and knows its exact inclusion probabilities."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from samplers import DPP, Candidates, _low_rank_dpp
from samplers._spectrum import spectrum_of
from tests.samplers import laws
from tests.samplers.enumeration import (
    cosine_kernel,
    elementary_symmetric,
    inclusion_probability,
    subset_probability,
)

DRAWS = 1500
# Fewer channels than a subset has items, and more than there are items in all.
CHANNELS = [2, 9]
FEATURES = {
    str(channels): torch.randn(6, channels, generator=laws.seeded(channels))
    for channels in CHANNELS
}
# Two equal items, two opposite ones and one of length zero.
FEATURES["awkward"] = torch.tensor(
    [[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, -1.0], [0.0, 0.0], [3.0, 1.0]]
)
JITTER = 0.1


@cache
def subset_counts(name: str) -> Counter[tuple[int, ...]]:
    """Count the subsets of three items in `DRAWS` draws, which takes seconds, hence the cache."""
    candidates = Candidates(num_items=6, features=FEATURES[name])
    generator = laws.seeded(0)
    return Counter(
        tuple(DPP(JITTER).sample(candidates, 3, generator=generator).tolist()) for _ in range(DRAWS)
    )


def check_subsets(counts: Counter[tuple[int, ...]], kernel: Tensor) -> None:
    subsets, probability = subset_probability(kernel, 3)
    laws.check_frequencies([counts[subset] for subset in subsets], probability.tolist())


@pytest.mark.parametrize("name", FEATURES)
def test_subsets_against_determinants(name: str) -> None:
    check_subsets(subset_counts(name), cosine_kernel(FEATURES[name], JITTER))


@pytest.mark.parametrize("name", FEATURES)
def test_determinants_of_another_kernel_are_rejected(name: str) -> None:
    shuffled = FEATURES[name][[1, 2, 3, 4, 5, 0]]
    for wrong in (cosine_kernel(shuffled, JITTER), torch.eye(6, dtype=torch.float64)):
        with pytest.raises(AssertionError):
            check_subsets(subset_counts(name), wrong)


def test_determinants_sum_to_the_elementary_symmetric_polynomial() -> None:
    kernel = cosine_kernel(torch.randn(6, 2, generator=laws.seeded(0)), 0.1)
    subsets, probability = subset_probability(kernel, 3)
    total = elementary_symmetric(torch.linalg.eigvalsh(kernel).tolist(), 3)
    first = list(subsets[0])
    expected = kernel[first][:, first].det() / total
    torch.testing.assert_close(probability[0], expected, rtol=1e-10, atol=0)


@given(
    channels=st.integers(1, 9),
    count=st.integers(1, 6),
    jitter=st.sampled_from([1e-6, 1e-2, 1.0, 1e3]),
    seed=st.integers(0, 2**31),
)
def test_probability_against_enumeration(
    channels: int, count: int, jitter: float, seed: int
) -> None:
    features = torch.randn(6, channels, generator=laws.seeded(seed))
    expected = inclusion_probability(cosine_kernel(features, jitter), count)
    candidates = Candidates(num_items=6, features=features)
    probability = DPP(jitter).inclusion_probability(candidates, count)
    torch.testing.assert_close(probability, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("count", [1, 3, 6])
def test_probability_of_equal_zero_and_opposite_items_against_enumeration(count: int) -> None:
    features = FEATURES["awkward"]
    expected = inclusion_probability(cosine_kernel(features, 1e-2), count)
    candidates = Candidates(num_items=6, features=features)
    probability = DPP().inclusion_probability(candidates, count)
    torch.testing.assert_close(probability, expected, rtol=0, atol=1e-10)


def test_zero_features_make_it_uniform() -> None:
    candidates = Candidates(num_items=6, features=torch.zeros(6, 3))
    probability = DPP().inclusion_probability(candidates, 2)
    torch.testing.assert_close(probability, torch.full((6,), 1 / 3, dtype=torch.float64))
    laws.check_index(DPP().sample(candidates, 2, generator=laws.seeded(0)), candidates, 2)


def test_equal_items_are_seldom_chosen_together() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    candidates = Candidates(num_items=4, features=features)
    drawn = [
        DPP().sample(candidates, 2, generator=laws.seeded(seed)).tolist() for seed in range(200)
    ]
    assert sum(pair in ([0, 1], [2, 3]) for pair in drawn) <= 8
    assert len({tuple(pair) for pair in drawn}) >= 4


@given(seed=st.integers(0, 2**31), exponent=st.integers(-250, 250))
def test_length_of_features_does_not_matter(seed: int, exponent: int) -> None:
    features = torch.randn(9, 3, generator=laws.seeded(seed), dtype=torch.float64)
    scaled = features * 10.0**exponent
    short = Candidates(num_items=9, features=features)
    long = Candidates(num_items=9, features=scaled)
    torch.testing.assert_close(
        DPP().inclusion_probability(long, 4),
        DPP().inclusion_probability(short, 4),
        rtol=0,
        atol=1e-10,
    )


@pytest.mark.parametrize(("roundings", "rank"), [(9.9, 1), (10.1, 2)])
def test_eigenvalues_within_ten_roundings_per_item_count_as_zero(
    roundings: float, rank: int
) -> None:
    weights = torch.zeros(50, dtype=torch.float64)
    weights[-1] = 3
    weights[-2] = 3 * 50 * roundings * torch.finfo(torch.float64).eps
    log_weights, vectors = spectrum_of(weights, torch.eye(50, dtype=torch.float64))
    assert torch.equal(log_weights, weights[-rank:].log())
    assert torch.equal(vectors, torch.eye(50, dtype=torch.float64)[:, -rank:])


@pytest.mark.parametrize("jitter", [1e-2, 1e-9, 1e-14])
def test_nearly_dependent_channels_keep_the_laws(jitter: float) -> None:
    generator = laws.seeded(0)
    spread = torch.logspace(0, -9, 32, dtype=torch.float64)
    features = torch.randn(400, 32, generator=generator, dtype=torch.float64) * spread
    mixed = features @ torch.randn(32, 32, generator=generator, dtype=torch.float64)
    candidates = Candidates(num_items=400, features=mixed)
    probability = DPP(jitter).inclusion_probability(candidates, 30)
    laws.check_probability(probability, candidates, 30)
    laws.check_index(DPP(jitter).sample(candidates, 30, generator=generator), candidates, 30)


@pytest.mark.parametrize(
    ("uniform", "size"),
    [(0.0, 1), (0.25 - 1e-12, 1), (0.25, 2), (0.75 - 1e-12, 2), (0.75, 3), (1 - 1e-12, 3)],
)
def test_size_of_the_diverse_part_is_drawn_by_its_probability(
    uniform: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = torch.tensor([uniform], dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *_, dtype=torch.float32, **__: drawn.to(dtype))
    # Rounding leaves a sum below 1.
    probability = torch.tensor([0, 0.25, 0.5, 0.25 - 1e-11], dtype=torch.float64)
    assert _low_rank_dpp._draw(probability, laws.seeded(0)) == size


def test_one_item_with_features_is_as_likely_as_its_determinants() -> None:
    # Of all subsets of ten the half with this item weighs twice as much as the other.
    candidates = Candidates(num_items=20, features=torch.eye(20)[:, :1])
    generator = laws.seeded(0)
    drawn = [0 in DPP(1.0).sample(candidates, 10, generator=generator) for _ in range(600)]
    laws.check_frequencies([sum(drawn), 600 - sum(drawn)], [2 / 3, 1 / 3])


def paper_size_candidates() -> Candidates:
    features = torch.randn(8256, 128, generator=laws.seeded(0))
    return Candidates(num_items=8256, features=features)


def test_paper_size_is_finite_and_exact() -> None:
    candidates = paper_size_candidates()
    index = DPP().sample(candidates, 495, generator=laws.seeded(0))
    laws.check_index(index, candidates, 495)
    laws.check_probability(DPP().inclusion_probability(candidates, 495), candidates, 495)


def test_subsets_of_dppy_follow_the_same_determinants() -> None:
    dppy = pytest.importorskip("dppy.finite_dpps", reason="the extra [dpp] is not installed")
    kernel = cosine_kernel(FEATURES["2"], JITTER)
    peer = dppy.FiniteDPP("likelihood", L=kernel.numpy())
    random_state = np.random.RandomState(0)
    counts = Counter(
        tuple(sorted(map(int, peer.sample_exact_k_dpp(size=3, random_state=random_state))))
        for _ in range(DRAWS)
    )
    check_subsets(counts, kernel)
    check_subsets(subset_counts("2"), kernel)


@pytest.mark.parametrize("jitter", [0.0, -1.0, float("nan"), float("inf")])
def test_jitter_that_is_not_positive_is_refused(jitter: float) -> None:
    with pytest.raises(ValueError, match=r"jitter=.*expected a finite value > 0, got"):
        DPP(jitter)


def test_features_that_are_not_finite_are_refused() -> None:
    features = torch.zeros(4, 2)
    features[1] = torch.nan
    candidates = Candidates(num_items=4, features=features)
    with pytest.raises(ValueError, match=r"DPP\(jitter=0.01\): expected finite features"):
        DPP().sample(candidates, 2)
    with pytest.raises(ValueError, match="expected finite features"):
        DPP().inclusion_probability(candidates, 2)


def test_at_most_five_bad_rows_are_listed() -> None:
    features = torch.full((7, 2), torch.inf)
    features[2] = 0
    with pytest.raises(ValueError, match=r"in 6 of 7 rows: 0, 1, 3, 4, 5, \.\.\.\. Nothing"):
        DPP().sample(Candidates(num_items=7, features=features), 2)
    features[6] = 0
    with pytest.raises(ValueError, match=r"in 5 of 7 rows: 0, 1, 3, 4, 5\. Nothing"):
        DPP().sample(Candidates(num_items=7, features=features), 2)
    features[3:] = 0
    with pytest.raises(ValueError, match=r"in 2 of 7 rows: 0, 1\. Nothing"):
        DPP().sample(Candidates(num_items=7, features=features), 2)
