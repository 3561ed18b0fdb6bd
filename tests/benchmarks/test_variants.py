"""The strategies that benchmarks try have the probabilities that they state."""

import pytest
import torch
from torch import Tensor

from benchmarks.draws.variants import PivotalNorm, Stratified
from samplers import AbstractSampler, Candidates, GradientNorm
from tests.samplers import laws

CANDIDATES = Candidates(
    num_items=7, gradient_norm=torch.tensor([1.0, 9.0, 0.5, 2.0, 3.0, 0.0, 1.0])
)


@pytest.mark.parametrize("count", [1, 3, 6, 7])
@pytest.mark.parametrize("strategy", [Stratified(), PivotalNorm()])
def test_items_are_chosen_as_often_as_stated(strategy: AbstractSampler, count: int) -> None:
    def draw(generator: torch.Generator) -> Tensor:
        index = strategy.sample(CANDIDATES, count, generator=generator)
        laws.check_index(index, CANDIDATES, count)
        return index

    probability = strategy.inclusion_probability(CANDIDATES, count)
    laws.check_probability(probability, CANDIDATES, count)
    laws.check_hits(laws.count_hits(draw, 7, 1000), probability, 1000)


def test_strata_are_successive_runs() -> None:
    index = Stratified().sample(Candidates(num_items=12), 4, generator=laws.seeded(0))
    assert (index // 3).tolist() == [0, 1, 2, 3]


def test_pivotal_samples_differ_from_systematic_ones() -> None:
    """Both have the same probabilities, but a duel can choose more pairs than a comb."""
    equal = Candidates(num_items=6, gradient_norm=torch.ones(6))
    pairs = {
        type(strategy): {
            tuple(strategy.sample(equal, 2, generator=laws.seeded(seed)).tolist())
            for seed in range(100)
        }
        for strategy in (GradientNorm(), PivotalNorm())
    }
    assert pairs[GradientNorm] == {(0, 3), (1, 4), (2, 5)}
    assert pairs[PivotalNorm] > pairs[GradientNorm]
