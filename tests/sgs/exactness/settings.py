"""The settings in which every kind of encoder is trained, with the sampler and in a naive graph."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from sgs import ArraySource, SequentialGradientSampler
from tests.sgs.kinds.kind import Arguments, Kind

NUM_ITEMS = 6
MICRO_BATCH_SIZE = 4
# Gradients that vanish analytically, e.g. of a key bias below softmax, are rounding noise.
FLOOR = 1e-4

# Feature leaves, and gradients by the names of the parameters.
Result = tuple[list[Tensor], dict[str, Any]]


class Recomputed(nn.Module):
    """An encoder in an activation checkpoint of its own."""

    def __init__(self, encoder: nn.Module, *, use_reentrant: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.use_reentrant = use_reentrant
        # Reentrant checkpoints need an input that requires its gradient.
        self.anchor = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, **items: Tensor) -> Any:
        structure = None

        def run(anchor: Tensor) -> tuple[Any, ...]:
            nonlocal structure
            leaves, structure = pytree.tree_flatten(self.encoder(**items))
            return tuple(leaves)

        leaves = checkpoint(run, self.anchor, use_reentrant=self.use_reentrant)
        return pytree.tree_unflatten(leaves, structure)


class Stem(nn.Module):
    """A stem without parameters that changes all numbers a little."""

    def forward(self, **items: Tensor) -> Arguments:
        return {n: x * 0.99 if x.is_floating_point() else x for n, x in items.items()}


class Unpacked(nn.Module):
    """An encoder that receives its arguments as one dict."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, items: Arguments) -> Any:
        return self.encoder(**items)


class AfterStem(nn.Module):
    """What the sampler with `frozen_stem=Stem()` should be equal to."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.stem, self.encoder = Stem(), encoder

    def forward(self, **items: Tensor) -> Any:
        with torch.no_grad():
            items = self.stem(**items)
        return self.encoder(**items)


def recomputed(*, use_reentrant: bool) -> Callable[[nn.Module], nn.Module]:
    def wrap(encoder: nn.Module) -> nn.Module:
        if not getattr(encoder, "supports_gradient_checkpointing", False):
            return Recomputed(encoder, use_reentrant=use_reentrant)
        encoder.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        return encoder

    return wrap


def compiled(encoder: nn.Module) -> nn.Module:
    torch.compiler.reset()
    return torch.compile(encoder, backend="aot_eager")


@contextmanager
def bf16() -> Iterator[None]:
    # With the cache, the naive graph sums gradients of all micro-batches in bfloat16.
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        yield


@dataclass(frozen=True)
class Setting:
    """One column of the table of exactness.

    Args:
        name: Its heading.
        rtol: The largest error that counts as exact, relative to the largest value of a tensor.
        dtype: The precision of parameters and items.
        wrap: What is done to the encoder, in the sampler and in the naive graph alike.
        precision: The context of the forward pass and the loss.
        options: Of the sampler.
        ours_is: What is done to the encoder in the sampler, instead of `wrap`.
        gives: What the sampler is given in the place of each tensor of items.
        num_items: Two micro-batches, the last of them short unless a setting says otherwise.
    """

    name: str
    rtol: float = 1e-12
    dtype: torch.dtype = torch.float64
    wrap: Callable[[nn.Module], nn.Module] = lambda encoder: encoder
    precision: Callable[[], Any] = nullcontext
    options: dict[str, Any] = field(default_factory=dict)
    ours_is: Callable[[nn.Module], nn.Module] | None = None
    gives: Callable[[Tensor], Any] = lambda items: items
    num_items: int = NUM_ITEMS

    def naive(self, kind: Kind, *, in_one_call: bool) -> Result:
        """Train in one graph, with the sampler's micro-batches or one call of all items."""
        size = self.num_items if in_one_call else MICRO_BATCH_SIZE
        return self._train(kind, lambda model, items: in_groups(model, items, size), self.wrap)

    def ours(self, kind: Kind) -> Result:
        """Train with the sampler."""

        def sampled(model: nn.Module, items: Arguments) -> list[Tensor]:
            sampler = SequentialGradientSampler(
                model, micro_batch_size=MICRO_BATCH_SIZE, **self.options
            )
            return tensors(sampler(**{name: self.gives(x) for name, x in items.items()}))

        return self._train(kind, sampled, self.ours_is or self.wrap)

    def _train(
        self,
        kind: Kind,
        features: Callable[[nn.Module, Arguments], list[Tensor]],
        wrap: Callable[[nn.Module], nn.Module],
    ) -> Result:
        encoder = kind.make(self.dtype)
        model, items = wrap(encoder), kind.items(self.num_items, self.dtype)
        seed()
        with self.precision():
            return result(encoder, features(model, items))


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("plain"),
        # The first micro-batch keeps its graph, the other one is encoded again.
        Setting("kept graph", options={"kept_graphs": 1}),
        Setting("frozen stem", wrap=AfterStem, ours_is=Unpacked, options={"frozen_stem": Stem()}),
        Setting("source", gives=ArraySource),
        Setting("bf16 autocast", rtol=1e-4, dtype=torch.float32, precision=bf16),
        # Equal micro-batches: another size is another compilation.
        Setting("compile", wrap=compiled, num_items=8),
        Setting("inner checkpoint", wrap=recomputed(use_reentrant=False)),
        Setting("inner checkpoint, reentrant", wrap=recomputed(use_reentrant=True)),
    )
}


def seed(number: int = 0) -> None:
    """Seed all generators that encoders draw from, NumPy's global one among them."""
    torch.manual_seed(2 + number)
    np.random.seed(2 + number)  # noqa: NPY002
    random.seed(2 + number)


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
    num_items = len(next(iter(items.values())))
    groups = torch.arange(num_items).split(size)
    parts = [tensors(encoder(**{n: x[index] for n, x in items.items()})) for index in groups]
    return [torch.cat(leaves) for leaves in zip(*parts, strict=True)]


def result(encoder: nn.Module, leaves: list[Tensor]) -> Result:
    """Back-propagate, and return the features and the gradients, sparse ones as dense."""
    coupled(leaves).backward()
    gradients = {n: p.grad for n, p in encoder.named_parameters()}
    dense = {n: g.to_dense() if g is not None and g.is_sparse else g for n, g in gradients.items()}
    return [leaf.detach() for leaf in leaves], dense


def assert_equal(got: Result, expected: Result, *, rtol: float, floor: float = FLOOR) -> None:
    """Compare all tensors; errors count relative to at least `floor` of the largest gradient."""
    for mine, theirs in zip(got[0], expected[0], strict=True):
        assert error(mine, theirs, 0.0) <= rtol, f"features: {error(mine, theirs, 0.0):.1e}"
    assert got[1].keys() == expected[1].keys()
    found = [g for g in expected[1].values() if g is not None and g.numel() > 0]
    least = floor * max((float(g.abs().max()) for g in found), default=1.0)
    for name, theirs in expected[1].items():
        mine = got[1][name]
        assert (mine is None) == (theirs is None), f"{name}: got {mine}, expected {theirs}"
        if theirs is not None and theirs.numel() > 0:
            assert error(mine, theirs, least) <= rtol, f"{name}: {error(mine, theirs, least):.1e}"


def error(got: Tensor, expected: Tensor, floor: float) -> float:
    """The largest difference, relative to the largest expected value or the floor."""
    scale = max(float(expected.abs().max()), floor, torch.finfo(torch.float32).tiny)
    return float((got - expected).abs().max()) / scale
