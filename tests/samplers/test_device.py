"""The device of the candidates, of the generator and the default one do not change the index."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from samplers import Candidates
from tests.samplers import laws
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
