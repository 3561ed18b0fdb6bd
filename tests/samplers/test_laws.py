"""The checks of the laws reject strategies that break them: negative controls."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from samplers import AbstractSampler, Candidates, Random
from tests.samplers import laws

CANDIDATES = Candidates(num_items=10)
DRAWS = 6000


@dataclass(frozen=True)
class Broken(AbstractSampler):
    """A strategy that answers with any function of (num_items, count, generator)."""

    draw: Callable[[int, int, torch.Generator], Tensor]

    @property
    def has_inclusion_probability(self) -> bool:
        return True

    def _sample(self, candidates: Candidates, count: int, generator: torch.Generator) -> Tensor:
        return self.draw(candidates.num_items, count, generator)

    def _inclusion_probability(self, candidates: Candidates, count: int) -> Tensor:
        share = count / candidates.num_items
        return torch.full((candidates.num_items,), share, dtype=torch.float64)


def constant(num_items: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.arange(count)


def duplicating(num_items: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(3, (count,), generator=generator)


def too_short(num_items: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(num_items, generator=generator)[: count - 1]


def out_of_range(num_items: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(num_items, generator=generator)[:count] + num_items


def global_rng(num_items: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(num_items)[:count]


def slightly_biased(num_items: int, count: int, generator: torch.Generator) -> Tensor:
    """Choose the first item one time in ten more often than the others."""
    weights = torch.ones(num_items)
    weights[0] = 1.25
    return torch.multinomial(weights, count, generator=generator)


@pytest.mark.parametrize("draw", [duplicating, too_short, out_of_range])
def test_malformed_index_fails(draw: Callable[[int, int, torch.Generator], Tensor]) -> None:
    index = Broken(draw).sample(CANDIDATES, 5, generator=laws.seeded(0))
    with pytest.raises(AssertionError):
        laws.check_index(index, CANDIDATES, 5)


@pytest.mark.parametrize(
    "index",
    [torch.tensor([3, 1]), torch.tensor([-1, 2]), torch.tensor([1, 2], dtype=torch.int32)],
    ids=["unsorted", "negative", "int32"],
)
def test_unsorted_negative_or_narrow_index_fails(index: Tensor) -> None:
    with pytest.raises(AssertionError):
        laws.check_index(index, CANDIDATES, 2)


def test_index_on_other_device_fails() -> None:
    elsewhere = Candidates(num_items=3, device=torch.device("meta"))
    with pytest.raises(AssertionError):
        laws.check_index(torch.tensor([1, 2]), elsewhere, 2)


def test_global_randomness_fails_both_seed_laws() -> None:
    with pytest.raises(AssertionError):
        laws.check_same_seed(Broken(global_rng), CANDIDATES, 5)
    with pytest.raises(AssertionError):
        laws.check_global_state(Broken(global_rng), CANDIDATES, 5)


def test_constant_strategy_fails_seeds_differ() -> None:
    with pytest.raises(AssertionError):
        laws.check_seeds_differ(Broken(constant), CANDIDATES, 5)


@pytest.mark.parametrize(
    "probability",
    [
        torch.full((10,), 0.4, dtype=torch.float64),
        torch.full((10,), 0.5),
        torch.tensor([1.5, -0.5, *[0.5] * 8], dtype=torch.float64),
        torch.full((5,), 1.0, dtype=torch.float64),
    ],
    ids=["wrong-sum", "float32", "outside", "too-few"],
)
def test_wrong_probabilities_fail(probability: Tensor) -> None:
    with pytest.raises(AssertionError):
        laws.check_probability(probability, CANDIDATES, 5)


@pytest.mark.parametrize("draw", [constant, slightly_biased])
def test_constant_or_slightly_biased_strategy_fails_the_counts(
    draw: Callable[[int, int, torch.Generator], Tensor],
) -> None:
    sampler = Broken(draw)
    hits = laws.count_hits(
        lambda generator: sampler.sample(CANDIDATES, 5, generator=generator), 10, DRAWS
    )
    with pytest.raises(AssertionError, match="item 0"):
        laws.check_hits(hits, sampler.inclusion_probability(CANDIDATES, 5), DRAWS)


def test_item_of_probability_zero_or_one_is_held_to_it() -> None:
    laws.check_hits(torch.tensor([0, 50]), torch.tensor([0.0, 1.0]), 50)
    with pytest.raises(AssertionError):
        laws.check_hits(torch.tensor([1, 50]), torch.tensor([0.0, 1.0]), 50)
    with pytest.raises(AssertionError):
        laws.check_hits(torch.tensor([0, 49]), torch.tensor([0.0, 1.0]), 50)


def test_uneven_outcomes_fail_the_frequencies() -> None:
    laws.check_frequencies([100, 105, 95], [1, 1, 1])
    with pytest.raises(AssertionError):
        laws.check_frequencies([300, 0, 0], [1, 1, 1])


def test_abstract_strategy_cannot_be_built() -> None:
    with pytest.raises(TypeError, match="abstract"):
        AbstractSampler()  # type: ignore[abstract]


@pytest.mark.parametrize(
    "missing", ["has_inclusion_probability", "_sample", "_inclusion_probability"]
)
def test_strategy_that_lacks_a_member_cannot_be_built(missing: str) -> None:
    members = {name: vars(Broken)[name] for name in sorted(AbstractSampler.__abstractmethods__)}
    type("Complete", (AbstractSampler,), members)()
    del members[missing]
    with pytest.raises(TypeError, match=f"abstract method '?{missing}"):
        type("Lacking", (AbstractSampler,), members)()


def test_all_fields_that_are_missing_are_named_in_order() -> None:
    requires = frozenset({"tiou", "scale", "features", "kernel"})
    demanding = type("Demanding", (Broken,), {"requires": requires})(constant)
    with pytest.raises(ValueError, match=r"`features` and `kernel` and `scale` and `tiou`, which"):
        demanding.sample(CANDIDATES, 2)


def test_right_strategy_passes_what_the_broken_ones_fail() -> None:
    laws.check_same_seed(Random(), CANDIDATES, 5)
    laws.check_seeds_differ(Random(), CANDIDATES, 5)
    laws.check_global_state(Random(), CANDIDATES, 5)
