"""The device of the candidates, of the generator and the default one do not change the index."""

import dataclasses

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from samplers import Candidates
from tests.samplers import laws
from tests.samplers.other_device import ELSEWHERE, Elsewhere, GeneratorElsewhere, OtherDevice
from tests.samplers.strategies import ALL_SAMPLERS, Case


@pytest.mark.parametrize("case", ALL_SAMPLERS, ids=str)
def test_default_device_of_the_caller_does_not_matter(case: Case) -> None:
    candidates = case.candidates(size=12)
    generator = laws.seeded(0)
    with torch.device("meta"):
        index = case.sampler.sample(candidates, 5, generator=generator)
        if case.has_probability:
            probability = case.sampler.inclusion_probability(candidates, 5)
            laws.check_probability(probability, candidates, 5)
    assert torch.equal(index, case.sampler.sample(candidates, 5, generator=laws.seeded(0)))


@pytest.mark.parametrize(
    "case",
    [case for case in ALL_SAMPLERS if not case.sampler.requires and not case.on_map],
    ids=str,
)
def test_strategy_without_requirements_runs_on_fake_tensors(case: Case) -> None:
    with FakeTensorMode():
        index = case.sampler.sample(Candidates(num_items=10), 4)
    assert index.shape == (4,)


def elsewhere(candidates: Candidates) -> Candidates:
    """Move candidates to the other device."""
    fields = {
        field.name: Elsewhere(value)
        for field in dataclasses.fields(candidates)
        if isinstance(value := getattr(candidates, field.name), torch.Tensor)
    }
    return dataclasses.replace(candidates, **fields, device=ELSEWHERE)


@pytest.mark.parametrize("case", ALL_SAMPLERS, ids=str)
def test_same_cpu_seed_gives_same_index_on_another_device(case: Case) -> None:
    candidates = case.candidates(size=12)
    with OtherDevice():
        moved = elsewhere(candidates)
        index = case.sampler.sample(moved, 5, generator=laws.seeded(0))
        assert index.device == ELSEWHERE
        if case.has_probability:
            probability = case.sampler.inclusion_probability(moved, 5)
            assert probability.device == ELSEWHERE
    assert torch.equal(index.inner, case.sampler.sample(candidates, 5, generator=laws.seeded(0)))


@pytest.mark.parametrize("is_moved", [True, False], ids=["candidates-elsewhere", "on-cpu"])
@pytest.mark.parametrize("case", ALL_SAMPLERS, ids=str)
def test_generator_of_another_device_is_accepted(case: Case, is_moved: bool) -> None:
    candidates = case.candidates(size=12)
    expected = case.sampler.sample(candidates, 5, generator=laws.seeded(0))
    generator = GeneratorElsewhere()
    generator.manual_seed(0)
    with OtherDevice(generator_device=ELSEWHERE):
        given = elsewhere(candidates) if is_moved else candidates
        index = case.sampler.sample(given, 5, generator=generator)
    assert torch.equal(index.inner if is_moved else index, expected)


def test_other_device_refuses_what_accelerators_refuse() -> None:
    here, there = torch.zeros(3), Elsewhere(torch.zeros(3))
    with OtherDevice():
        assert (there + there.sum()).device == ELSEWHERE
        assert there[torch.tensor([0, 1])].device == ELSEWHERE
        assert there.cpu().device == here.device
        assert torch.arange(3, device=ELSEWHERE).tolist() == [0, 1, 2]
        for mix in (
            lambda: here + there,
            lambda: torch.stack([here, there]),
            lambda: here[Elsewhere(torch.tensor([0]))],
            lambda: torch.rand(3, generator=laws.seeded(0), device=ELSEWHERE),
        ):
            with pytest.raises(RuntimeError, match="device"):
                mix()


@pytest.mark.parametrize("case", ALL_SAMPLERS, ids=str)
@pytest.mark.gpu
def test_same_cpu_seed_gives_same_index_on_gpu(case: Case) -> None:
    candidates = case.candidates(size=12)
    fields = {
        name: value.cuda()
        for name in ("valid", "features", "tiou", "scale")
        if (value := getattr(candidates, name)) is not None
    }
    on_gpu = Candidates(num_items=candidates.num_items, **fields)
    index = case.sampler.sample(on_gpu, 5, generator=laws.seeded(0))
    laws.check_index(index, on_gpu, 5)
    expected = case.sampler.sample(candidates, 5, generator=laws.seeded(0))
    assert torch.equal(index.cpu(), expected)


@pytest.mark.parametrize("case", ALL_SAMPLERS, ids=str)
@pytest.mark.gpu
def test_gpu_generator_is_accepted(case: Case) -> None:
    candidates = case.candidates(size=12)
    generator = torch.Generator("cuda").manual_seed(0)
    index = case.sampler.sample(candidates, 5, generator=generator)
    laws.check_index(index, candidates, 5)
