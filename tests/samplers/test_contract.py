"""Every strategy keeps the laws of `AbstractSampler`."""

import dataclasses
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st

import samplers
from samplers import AbstractSampler, Candidates
from tests.samplers import laws
from tests.samplers.strategies import ALL_SAMPLERS, Case

every_strategy = pytest.mark.parametrize("case", ALL_SAMPLERS, ids=str)
random_strategies = pytest.mark.parametrize(
    "case", [case for case in ALL_SAMPLERS if not case.is_deterministic], ids=str
)
deterministic_strategies = pytest.mark.parametrize(
    "case", [case for case in ALL_SAMPLERS if case.is_deterministic], ids=str
)
strategies_with_probability = pytest.mark.parametrize(
    "case", [case for case in ALL_SAMPLERS if case.has_probability], ids=str
)
strategies_without_probability = pytest.mark.parametrize(
    "case", [case for case in ALL_SAMPLERS if not case.has_probability], ids=str
)
strategies_with_requirements = pytest.mark.parametrize(
    "case", [case for case in ALL_SAMPLERS if case.sampler.requires], ids=str
)
strategies_without_requirements = pytest.mark.parametrize(
    "case",
    [case for case in ALL_SAMPLERS if not case.sampler.requires and not case.on_map],
    ids=str,
)

sizes = st.integers(1, 12)
seeds = st.integers(0, 2**31)


def draw_count(data: st.DataObject, candidates: Candidates) -> int:
    return data.draw(st.integers(1, candidates.num_items), label="count")


def test_every_exported_strategy_is_in_the_table() -> None:
    exported = {
        value
        for value in vars(samplers).values()
        if isinstance(value, type)
        and issubclass(value, AbstractSampler)
        and value is not AbstractSampler
    }
    assert exported == {type(case.sampler) for case in ALL_SAMPLERS}
    assert len(exported) == 9


@every_strategy
@settings(max_examples=40)
@given(size=sizes, seed=seeds, data=st.data())
def test_index_is_distinct_ascending_and_exactly_count(
    case: Case, size: int, seed: int, data: st.DataObject
) -> None:
    candidates = case.candidates(size=size, seed=seed)
    count = draw_count(data, candidates)
    index = case.sampler.sample(candidates, count, generator=laws.seeded(seed))
    laws.check_index(index, candidates, count)


@every_strategy
def test_all_items_are_chosen_when_count_is_their_number(case: Case) -> None:
    candidates = case.candidates(size=9)
    index = case.sampler.sample(candidates, candidates.num_items, generator=laws.seeded(0))
    assert torch.equal(index, torch.arange(candidates.num_items))


@every_strategy
def test_same_generator_state_gives_same_index(case: Case) -> None:
    laws.check_same_seed(case.sampler, case.candidates(size=11), 5)


@random_strategies
def test_other_generator_state_gives_other_index(case: Case) -> None:
    laws.check_seeds_differ(case.sampler, case.candidates(size=11), 5)


@deterministic_strategies
def test_deterministic_strategy_ignores_the_generator(case: Case) -> None:
    candidates = case.candidates(size=11)
    drawn = {
        tuple(case.sampler.sample(candidates, 5, generator=laws.seeded(seed)).tolist())
        for seed in range(20)
    }
    assert len(drawn) == 1


@every_strategy
def test_given_generator_leaves_global_state_untouched(case: Case) -> None:
    laws.check_global_state(case.sampler, case.candidates(size=11), 5)


@random_strategies
def test_generator_advances_with_every_draw(case: Case) -> None:
    generator = laws.seeded(0)
    before = generator.get_state()
    case.sampler.sample(case.candidates(size=11), 5, generator=generator)
    assert not torch.equal(before, generator.get_state())


@every_strategy
def test_without_generator_the_default_one_of_the_cpu_is_used(case: Case) -> None:
    candidates = case.candidates(size=11)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        index = case.sampler.sample(candidates, 5)
    assert torch.equal(index, case.sampler.sample(candidates, 5, generator=laws.seeded(5)))


@strategies_with_requirements
@pytest.mark.parametrize("method", ["sample", "inclusion_probability"])
def test_missing_requirement_is_refused(case: Case, method: str) -> None:
    (field,) = case.sampler.requires
    candidates = dataclasses.replace(case.candidates(size=6), **{field: None})
    with pytest.raises(ValueError, match=rf"\.{method}\(candidates=.* requires `{field}`, which"):
        getattr(case.sampler, method)(candidates, 2)


@strategies_without_requirements
def test_strategy_without_requirements_needs_only_the_number(case: Case) -> None:
    candidates = Candidates(num_items=10)
    laws.check_index(case.sampler.sample(candidates, 4), candidates, 4)


@every_strategy
@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize("count", [-1, 0, 11, 2.5, 3.0])
@pytest.mark.parametrize("method", ["sample", "inclusion_probability"])
def test_impossible_count_is_refused(case: Case, count: float, method: str) -> None:
    candidates = case.candidates(size=4 if case.on_map else 10)
    with pytest.raises(
        ValueError, match=rf"\.{method}\(count={count}\): expected an integer in \[1, 10\]"
    ):
        getattr(case.sampler, method)(candidates, count)


@every_strategy
@pytest.mark.usefixtures("raw_errors")
def test_seed_in_place_of_a_generator_is_refused(case: Case) -> None:
    untyped: Any = case.sampler
    with pytest.raises(TypeError, match=r"sample\(generator=3\): expected a torch\.Generator or"):
        untyped.sample(case.candidates(size=4), 2, generator=3)


@every_strategy
@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize("method", ["sample", "inclusion_probability"])
def test_features_in_place_of_candidates_are_refused(case: Case, method: str) -> None:
    with pytest.raises(TypeError, match=rf"{method}\(candidates=.*expected Candidates, got Tensor"):
        getattr(case.sampler, method)(torch.zeros(3, 2), 2)


@every_strategy
def test_class_says_whether_probabilities_exist(case: Case) -> None:
    assert case.sampler.has_inclusion_probability is case.has_probability


@strategies_with_probability
@settings(max_examples=40)
@given(size=sizes, seed=seeds, data=st.data())
def test_probabilities_lie_in_unit_interval_and_sum_to_count(
    case: Case, size: int, seed: int, data: st.DataObject
) -> None:
    candidates = case.candidates(size=size, seed=seed)
    count = draw_count(data, candidates)
    probability = case.sampler.inclusion_probability(candidates, count)
    laws.check_probability(probability, candidates, count)


@strategies_with_probability
def test_counts_of_chosen_items_fit_the_probabilities(case: Case) -> None:
    candidates = case.candidates(size=4 if case.on_map else 10, seed=3)
    hits = laws.count_hits(
        lambda generator: case.sampler.sample(candidates, 5, generator=generator),
        candidates.num_items,
        case.draws,
    )
    probability = case.sampler.inclusion_probability(candidates, 5)
    laws.check_hits(hits, probability, case.draws)


@strategies_without_probability
def test_missing_probabilities_are_refused_with_reason_and_way_out(case: Case) -> None:
    with pytest.raises(ValueError, match=r"no weights make it unbiased\. Use "):
        case.sampler.inclusion_probability(case.candidates(size=6), 3)


@every_strategy
def test_strategy_is_an_immutable_value(case: Case) -> None:
    sampler = case.sampler
    assert isinstance(sampler.requires, frozenset)
    assert pickle.loads(pickle.dumps(sampler)) == sampler
    assert hash(dataclasses.replace(sampler)) == hash(sampler)
    assert eval(repr(sampler), vars(samplers)) == sampler
    with pytest.raises(AttributeError):
        sampler.requires = frozenset()  # type: ignore[misc]


@every_strategy
def test_sampling_keeps_no_graph_and_changes_no_input(case: Case) -> None:
    candidates = case.candidates(size=8)
    features = candidates.features
    assert features is not None
    before = features.clone()
    features.requires_grad_()
    case.sampler.sample(candidates, 3, generator=laws.seeded(0))
    assert features.grad_fn is None
    assert torch.equal(features, before)


@strategies_with_probability
@pytest.mark.parametrize("field", ["features", "gradient_norm", "kernel"])
def test_probabilities_keep_no_graph(case: Case, field: str) -> None:
    candidates = case.candidates(size=8)
    getattr(candidates, field).requires_grad_()
    assert not case.sampler.inclusion_probability(candidates, 3).requires_grad
