"""Every kind of encoder in the tables is exact, or refused with the reason."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sgs import SequentialGradientSampler
from tests.sgs.families import FAMILIES
from tests.sgs.kind import Arguments, Kind
from tests.sgs.kinds import KINDS

# The shape checker draws from Python's random, which some kinds do, too.
pytestmark = pytest.mark.usefixtures("raw_errors")

NUM_ITEMS = 6
SIZE = 4
RTOL = 1e-12
# Gradients that vanish analytically, e.g. of a key bias below softmax, are rounding noise.
FLOOR = 1e-4

OTHER_FEATURES = "the second pass computed other features"
REFUSED = {
    "owned_generator_in_object": OTHER_FEATURES,
    "owned_numpy_generator": OTHER_FEATURES,
    "owned_python_random": OTHER_FEATURES,
    "counter_hidden": OTHER_FEATURES,
    "decayed_weight": OTHER_FEATURES,
    "codebook": OTHER_FEATURES,
    "instance_norm_with_statistics": "are changed by each micro-batch in another way",
    "fake_quantised_by_range": "are changed by each micro-batch in another way",
    "moving_mean": "are changed by each micro-batch in another way",
    "embedding_max_norm": "the encoder changed",
    "parameter_in_plain_list": "a parameter of shape .* that is not one of the encoder's",
    # A hook that does not expect what torch passes for a parameter without a gradient.
    "parameter_hook_unused": "'NoneType' object has no attribute",
}
# What changes itself once per call is to be compared with a single call.
ONE_CALL = {name for name in KINDS if name.startswith("spectral_norm")} | {
    "counter",
    "counter_reassigned",
    "counter_attribute",
    "carried_state",
}


def seed() -> None:
    # The generators that encoders draw from, NumPy's global one among them.
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    random.seed(2)


def tensors(outputs: Any) -> list[Tensor]:
    leaves = [x for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor)]
    return [x for x in leaves if x.is_floating_point() or x.is_complex()]


def coupled(leaves: list[Tensor]) -> Tensor:
    """A loss in which the gradient of each item depends on the items around it."""
    total = torch.zeros((), dtype=torch.float64)
    for leaf in leaves:
        rows = (torch.view_as_real(leaf) if leaf.is_complex() else leaf).flatten(1).double()
        mixed = (rows * torch.linspace(0.5, 1.5, rows.shape[1]).double()).cumsum(dim=0).tanh()
        total = total + (mixed * mixed.roll(1, dims=0)).sum() + rows.square().mean()
    return total


def in_groups(encoder: nn.Module, items: Arguments, size: int) -> list[Tensor]:
    groups = torch.arange(NUM_ITEMS).split(size)
    parts = [tensors(encoder(**{n: x[index] for n, x in items.items()})) for index in groups]
    return [torch.cat(leaves) for leaves in zip(*parts, strict=True)]


def result(encoder: nn.Module, leaves: list[Tensor]) -> tuple[list[Tensor], dict[str, Any]]:
    coupled(leaves).backward()
    gradients = {n: p.grad for n, p in encoder.named_parameters()}
    dense = {n: g.to_dense() if g is not None and g.is_sparse else g for n, g in gradients.items()}
    return [leaf.detach() for leaf in leaves], dense


def naive(kind: Kind, *, size: int) -> tuple[list[Tensor], dict[str, Any]]:
    encoder = kind.make()
    seed()
    return result(encoder, in_groups(encoder, kind.items(NUM_ITEMS), size))


def ours(kind: Kind) -> tuple[list[Tensor], dict[str, Any]]:
    encoder = kind.make()
    sampler = SequentialGradientSampler(encoder, micro_batch_size=SIZE)
    seed()
    return result(encoder, tensors(sampler(**kind.items(NUM_ITEMS))))


def assert_equal(got: tuple[Any, Any], expected: tuple[Any, Any], *, rtol: float) -> None:
    for mine, theirs in zip(got[0], expected[0], strict=True):
        assert error(mine, theirs, 0.0) <= rtol, f"features: {error(mine, theirs, 0.0):.1e}"
    assert got[1].keys() == expected[1].keys()
    found = [g for g in expected[1].values() if g is not None and g.numel() > 0]
    floor = FLOOR * max((float(g.abs().max()) for g in found), default=1.0)
    for name, theirs in expected[1].items():
        mine = got[1][name]
        assert (mine is None) == (theirs is None), f"{name}: got {mine}, expected {theirs}"
        if theirs is not None and theirs.numel() > 0:
            assert error(mine, theirs, floor) <= rtol, f"{name}: {error(mine, theirs, floor):.1e}"


def error(got: Tensor, expected: Tensor, floor: float) -> float:
    scale = max(float(expected.abs().max()), floor, torch.finfo(torch.float32).tiny)
    return float((got - expected).abs().max()) / scale


def test_tables_have_as_many_kinds_as_promised() -> None:
    assert len(FAMILIES) >= 20
    assert {*REFUSED, *ONE_CALL} <= KINDS.keys()


@pytest.mark.parametrize("name", [name for name in KINDS if name not in REFUSED])
def test_kind_is_exact(name: str) -> None:
    kind = KINDS[name]
    size = NUM_ITEMS if name in ONE_CALL else SIZE
    assert_equal(ours(kind), naive(kind, size=size), rtol=RTOL)


@pytest.mark.parametrize("name", REFUSED)
def test_kind_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises((RuntimeError, AttributeError), match=REFUSED[name]):
        ours(KINDS[name])


@pytest.mark.parametrize("name", FAMILIES)
def test_transformers_family_is_exact(name: str) -> None:
    assert_equal(ours(FAMILIES[name]), naive(FAMILIES[name], size=SIZE), rtol=RTOL)


def test_a_forgotten_group_is_detected() -> None:
    """The negative control."""
    kind = KINDS["linear"]
    with pytest.raises(AssertionError, match="features"):
        assert_equal(naive(kind, size=SIZE), ([x * 1.001 for x in ours(kind)[0]], {}), rtol=RTOL)
