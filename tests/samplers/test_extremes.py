"""Every strategy keeps its laws whatever the values are, or says which of them it refuses."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from samplers import Candidates
from tests.samplers import laws
from tests.samplers.strategies import ALL_SAMPLERS, Case

every_strategy = pytest.mark.parametrize("case", ALL_SAMPLERS, ids=str)
readers = [
    pytest.param(case, name, method, id=f"{case}-{name}-{method}")
    for case in ALL_SAMPLERS
    for name in sorted(case.sampler.requires)
    for method in ("sample", "inclusion_probability")
    if method == "sample" or case.has_probability
]
FIELDS = ["features", "tiou", "scale", "kernel", "gradient_norm"]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
NOT_FINITE = [float("nan"), float("inf"), -float("inf")]

shapes = st.tuples(st.integers(1, 10), st.integers(1, 6), st.integers(1, 6))
seeds = st.integers(0, 2**31)
magnitudes = st.sampled_from(["ordinary", "subnormal", "largest", "spread"])


def magnitude(kind: str, num_items: int, *, dtype: torch.dtype, generator: torch.Generator) -> Any:
    """Return a factor per item, [num_items, 1] in float64, that suits the type."""
    info = torch.finfo(dtype)
    decades = 20 if info.max > 1e20 else 4
    random = torch.rand(num_items, 1, generator=generator, dtype=torch.float64)
    match kind:
        case "subnormal":
            return torch.full_like(random, info.tiny / 8)
        case "largest":
            return torch.full_like(random, info.max / 8)
        case "spread":
            return 10 ** (decades * (2 * random - 1))
    return torch.ones_like(random)


def awkward_values(
    shape: tuple[int, int, int], *, kind: str, dtype: torch.dtype, seed: int
) -> dict[str, Tensor]:
    """Build all fields: few ranks, repeated items, and some that are zero."""
    num_items, channels, rank = shape
    generator = laws.seeded(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).clamp(-4, 4)

    features = normal(num_items, rank) @ normal(rank, channels) / 4 / rank
    repeated = torch.randint(num_items, (num_items,), generator=generator)
    is_zero = torch.rand(num_items, generator=generator) < 0.2
    features = torch.where(is_zero[:, None], 0.0, features[repeated])
    factor = magnitude(kind, num_items, dtype=dtype, generator=generator)
    labels = torch.rand(2, num_items, generator=generator, dtype=torch.float64)
    tiou, scale = torch.where(is_zero, 0.0, labels[:, repeated])
    return {
        "features": (features * factor).to(dtype),
        "gradient_norm": (features.abs().amax(dim=1) * factor[:, 0]).to(dtype),
        "tiou": tiou.to(dtype),
        "scale": scale.to(dtype),
    }


def kernel_of(shape: tuple[int, int, int], *, kind: str, dtype: torch.dtype, seed: int) -> Tensor:
    """Build a kernel of full rank whose rounding in any type leaves it so."""
    num_items = shape[0]
    generator = laws.seeded(seed)
    factors = torch.randint(-1, 2, (num_items, num_items), generator=generator).double()
    factor = magnitude(kind, 1, dtype=dtype, generator=generator)
    kernel = factors @ factors.T / num_items + torch.eye(num_items)
    return (kernel * factor / 4).to(dtype)


@every_strategy
@settings(max_examples=60)
@given(
    shape=shapes,
    kind=magnitudes,
    dtype=st.sampled_from(DTYPES),
    seed=seeds,
    how_many=st.sampled_from(["one", "all", "some"]),
    data=st.data(),
)
def test_laws_hold_for_awkward_values(
    case: Case,
    shape: tuple[int, int, int],
    kind: str,
    dtype: torch.dtype,
    seed: int,
    how_many: str,
    data: st.DataObject,
) -> None:
    valid = case.candidates(size=min(shape[0], 5)).valid if case.on_map else None
    shape = (shape[0] if valid is None else int(valid.sum()), *shape[1:])
    values = awkward_values(shape, kind=kind, dtype=dtype, seed=seed)
    values["kernel"] = kernel_of(shape, kind=kind, dtype=dtype, seed=seed)
    assert all(value.isfinite().all() for value in values.values())
    before = {name: value.clone() for name, value in values.items()}
    candidates = Candidates(num_items=shape[0], valid=valid, **values)
    counts = {"one": st.just(1), "all": st.just(shape[0]), "some": st.integers(1, shape[0])}
    count = data.draw(counts[how_many])
    check_all_laws(case, candidates, count, seed=seed)
    assert all(torch.equal(values[name], before[name]) for name in values)


def check_all_laws(case: Case, candidates: Candidates, count: int, *, seed: int) -> None:
    laws.check_index(
        case.sampler.sample(candidates, count, generator=laws.seeded(seed)), candidates, count
    )
    laws.check_same_seed(case.sampler, candidates, count)
    laws.check_global_state(case.sampler, candidates, count)
    if case.has_probability:
        probability = case.sampler.inclusion_probability(candidates, count)
        laws.check_probability(probability, candidates, count)
        index = case.sampler.sample(candidates, count, generator=laws.seeded(seed))
        assert (probability[index] > 0).all()


@pytest.mark.parametrize(("case", "name", "method"), readers)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", NOT_FINITE)
def test_what_is_read_is_refused_with_the_rows_if_it_is_not_finite(
    case: Case, name: str, method: str, dtype: torch.dtype, value: float
) -> None:
    candidates = case.candidates(size=3 if case.on_map else 6)
    values = getattr(candidates, name).to(dtype)
    for row in (4, 2):
        values.select(0, row).view(-1)[row % values[0].numel()] = value
    candidates = replace(candidates, **{name: values})
    rows = r"2 of 6 rows: 2, 4\."
    with pytest.raises(ValueError, match=rf"expected (finite )?{name}.* {rows}"):
        getattr(case.sampler, method)(candidates, 2)


@every_strategy
@pytest.mark.parametrize("value", NOT_FINITE)
def test_what_is_not_read_may_hold_anything(case: Case, value: float) -> None:
    candidates = case.candidates(size=6)
    expected = case.sampler.sample(candidates, 2, generator=laws.seeded(0))
    for name in set(FIELDS) - case.sampler.requires:
        found = getattr(candidates, name)
        candidates = replace(candidates, **{name: torch.full_like(found, value)})
    assert torch.equal(case.sampler.sample(candidates, 2, generator=laws.seeded(0)), expected)


def test_fields_are_those_of_the_candidates() -> None:
    others = {"num_items", "valid", "device"}
    assert set(FIELDS) == {field.name for field in fields(Candidates)} - others
