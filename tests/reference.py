"""Obviously right and slow: one graph through everything."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

# Summation in another order moves the last bits of float64: up to 2e-15 was seen.
RTOL = 1e-12

Gradients = dict[str, Tensor | None]


def coupling_loss(features: Any) -> Tensor:
    """A loss in which the gradient of each item's features depends on all items of its video."""
    total = torch.zeros((), dtype=torch.float64)
    for leaf in pytree.tree_leaves(features):
        if leaf.is_floating_point():
            slope = torch.linspace(0.5, 1.5, leaf.shape[-1], dtype=leaf.dtype)
            mixed = (leaf * slope).cumsum(dim=-2).tanh()
            total = total + (mixed * mixed.roll(1, dims=-2)).sum() + leaf.square().mean()
    return total


def direct_features(
    encoder: nn.Module, items: Tensor, *, item_dim: int = 0, groups: Sequence[Tensor] | None = None
) -> Any:
    """Encode with one graph, in one call or in the given groups of flat positions."""
    flat = items.flatten(0, item_dim)
    groups = [torch.arange(len(flat))] if groups is None else groups
    parts = [pytree.tree_flatten(encoder(flat[index])) for index in groups]
    order = torch.cat(list(groups)).argsort()
    leaves = [torch.cat(x)[order] for x in zip(*(leaves for leaves, _ in parts), strict=True)]
    lead = items.shape[: item_dim + 1]
    return pytree.tree_unflatten([x.unflatten(0, lead) for x in leaves], parts[0][1])


def scale_gradients(features: Any, weight: Tensor) -> Any:
    """Return the features; their gradient is multiplied by one weight per item on its way back."""

    def scale(leaf: Tensor) -> Tensor:
        if leaf.is_floating_point():
            shape = (*weight.shape, *[1] * (leaf.ndim - weight.ndim))
            leaf.register_hook(lambda gradient: gradient * weight.view(shape))
        return leaf

    return pytree.tree_map(scale, features)


def gradients_of(module: nn.Module) -> Gradients:
    """Copy the gradient of every parameter, by name; tied parameters count once."""
    return {n: None if p.grad is None else p.grad.clone() for n, p in module.named_parameters()}


def run(module: nn.Module, features: Callable[[], Any]) -> tuple[list[Tensor], Gradients]:
    """Train one step's worth of gradients; return feature leaves and gradients by name."""
    module.zero_grad(set_to_none=True)
    outputs = features()
    coupling_loss(outputs).backward()
    return [leaf.detach().clone() for leaf in pytree.tree_leaves(outputs)], gradients_of(module)


def assert_same(ours: Gradients, reference: Gradients, *, rtol: float = RTOL) -> None:
    """Compare all gradients by name, and report every one that differs before failing."""
    assert ours.keys() == reference.keys()
    wrong = []
    for name, expected in reference.items():
        got = ours[name]
        if got is None or expected is None:
            if got is not expected:
                wrong.append(f"{name}: got {got}, expected {expected}")
        elif relative_error(got, expected) > rtol:
            wrong.append(f"{name}: relative error {relative_error(got, expected):.1e}")
    assert not wrong, "\n".join(wrong)


def relative_error(got: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest expected value."""
    scale = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return float(((got - expected).abs().max() / scale).detach())
