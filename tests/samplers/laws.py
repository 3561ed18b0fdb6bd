"""The laws of `AbstractSampler` as checks, so that broken strategies can be shown to fail them."""

from collections.abc import Callable, Sequence

import torch
from scipy import stats
from torch import Tensor

from samplers import AbstractSampler, Candidates

# Chance that a test of counts rejects a right strategy. Seeds are fixed: it happens once or never.
ALPHA = 1e-6


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def check_index(index: Tensor, candidates: Candidates, count: int) -> None:
    """An index is 1-D int64, distinct, ascending, in range, exactly `count`, on the device."""
    assert index.dtype == torch.int64
    assert index.shape == (count,)
    assert index.device == candidates.device
    assert index[0] >= 0
    assert index[-1] < candidates.num_items
    assert (index.diff() > 0).all()


def check_same_seed(sampler: AbstractSampler, candidates: Candidates, count: int) -> None:
    """Equal generators give equal indices, whatever happens elsewhere."""
    first = sampler.sample(candidates, count, generator=seeded(7))
    torch.rand(3, generator=torch.default_generator)
    assert torch.equal(first, sampler.sample(candidates, count, generator=seeded(7)))


def check_seeds_differ(sampler: AbstractSampler, candidates: Candidates, count: int) -> None:
    """Some of twenty seeds give different indices."""
    drawn = [sampler.sample(candidates, count, generator=seeded(seed)) for seed in range(20)]
    assert len({tuple(index.tolist()) for index in drawn}) > 1


def check_global_state(sampler: AbstractSampler, candidates: Candidates, count: int) -> None:
    """A given generator is the only one that moves."""
    before = torch.get_rng_state()
    sampler.sample(candidates, count, generator=seeded(0))
    assert torch.equal(before, torch.get_rng_state())


def check_probability(probability: Tensor, candidates: Candidates, count: int) -> None:
    """Probabilities lie in [0, 1] and sum to `count`."""
    assert probability.dtype == torch.float64
    assert probability.shape == (candidates.num_items,)
    assert probability.device == candidates.device
    assert probability.min() >= 0
    assert probability.max() <= 1
    torch.testing.assert_close(probability.sum().item(), float(count), rtol=1e-12, atol=0)


def count_hits(draw: Callable[[torch.Generator], Tensor], num_items: int, draws: int) -> Tensor:
    """Return in how many draws each item was chosen."""
    generator = seeded(2024)
    hits = torch.zeros(num_items, dtype=torch.int64)
    for _ in range(draws):
        hits[draw(generator)] += 1
    return hits


def check_hits(hits: Tensor, probability: Tensor, draws: int) -> None:
    """Each count is a plausible number of successes at its probability (exact binomial test).

    Items of one draw depend on each other, so every item is tested on its own and ALPHA is shared
    (Bonferroni). An item of probability 0 must never appear, one of probability 1 always.
    """
    for item, (hit, expected) in enumerate(zip(hits.tolist(), probability.tolist(), strict=True)):
        test = stats.binomtest(hit, draws, min(expected, 1.0))
        assert test.pvalue > ALPHA / len(hits), (
            f"item {item}: {hit} of {draws} draws, expected {expected * draws:.0f}"
        )


def check_frequencies(counts: Sequence[int], probability: Sequence[float]) -> None:
    """Counts of exclusive outcomes fit their probabilities (chi-square on counts)."""
    draws = sum(counts)
    total = sum(probability)
    expected = [draws * value / total for value in probability]
    assert min(expected) > 5, "too few draws for a chi-square test"
    assert stats.chisquare(counts, expected).pvalue > ALPHA
