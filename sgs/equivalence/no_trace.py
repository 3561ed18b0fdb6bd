"""A call of the encoder and its backward that change no state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sgs.equivalence.comparison import Outcome
from sgs.gradients.parameters import CalledParameters
from sgs.items.arguments import CallArguments
from sgs.items.frozen_stem import FrozenStem, run_stem, with_stem
from sgs.items.shared import Shared
from sgs.items.source import Source, fetch_rows
from sgs.replay.circumstances import Circumstances
from sgs.sampler import SequentialGradientSampler

FEATURES = "features"


@dataclass(frozen=True)
class Trial:
    """An encoder and arguments, for a forward and a backward pass.

    Attributes:
        encoder: The user's encoder, with aliases in place of its parameters.
        args: The positional arguments, without the graphs behind them.
        kwargs: The keyword arguments, without the graphs behind them.
        items: The same arguments as `CallArguments`.
        stem: The frozen layers in front of the encoder, if any.
        circumstances: The state before the trial.
    """

    encoder: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    items: CallArguments
    stem: FrozenStem | None
    circumstances: Circumstances

    def features_of(self, index: Int64[Tensor, " items"]) -> dict[str, Any]:
        """Call the encoder on some items, in the graph of the whole arguments."""

        def take(leaf: Any) -> Any:
            if isinstance(leaf, Shared):
                return leaf.value
            if isinstance(leaf, Source):
                return self.items.on_device(fetch_rows(leaf, index))
            is_item = isinstance(leaf, Tensor)
            return self.items.rows(leaf)[index.to(leaf.device)] if is_item else leaf

        taken = pytree.tree_map(take, (self.args, self.kwargs))
        args, kwargs = run_stem(self.stem, *taken)
        return named_leaves(self.encoder(*args, **kwargs), FEATURES)

    def outcome(self, features: Mapping[str, Any]) -> Outcome:
        """Return some features, and the gradients collected so far."""
        named = {**named_leaves(self.args, "args"), **named_leaves(self.kwargs, "kwargs")}
        leaves = {
            key: leaf
            for name, x in named.items()
            for key, leaf in named_leaves(x.value if isinstance(x, Shared) else x, name).items()
        }
        trained = {n: p.grad for n, p in self.encoder.named_parameters() if p.requires_grad}
        tensors = {n: x for n, x in leaves.items() if isinstance(x, Tensor) and x.requires_grad}
        # Copied, since features may share memory with buffers that are restored later.
        kept = {n: x.detach().clone() if isinstance(x, Tensor) else x for n, x in features.items()}
        return Outcome(kept, trained, {n: x.grad for n, x in tensors.items()})


@contextmanager
def trial(
    sampler: SequentialGradientSampler, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[Trial]:
    """Run the sampler's encoder inside, and restore all state at the end.

    NOTE [ No trace ]
    Parameters are replaced by aliases. So a backward inside neither changes their `.grad` nor calls
    their hooks, e.g. of an optimizer that steps in the backward. (`autograd.grad` would not either,
    but cannot pass through reentrant checkpoints.) Aliases share the memory of the parameters, and
    edits through `.data` raise no version, so values are compared and restored. State in objects
    other than lists, dicts and sets cannot be restored.

    Yields:
        The encoder, and the arguments without the graphs behind them.
    """
    args, kwargs = pytree.tree_map(_cut_off, (args, kwargs))
    encoder, stem = sampler.encoder, sampler.stem
    whole = with_stem(encoder, stem)
    parameters = CalledParameters(encoder)
    items = sampler.items_of(encoder, args, kwargs)
    circumstances = Circumstances(whole, parameters.by_name, items.tensors)
    with (
        circumstances.random_state().restored(),
        circumstances.second_pass(),
        _values_kept([*whole.parameters(), *whole.buffers()]),
        _modes_kept(whole),
        # New aliases for each trial, because autocast caches a cast of every weight.
        parameters.aliased(),
    ):
        yield Trial(encoder, args, kwargs, items, stem, circumstances)


def _cut_off(leaf: Any) -> Any:
    if isinstance(leaf, Shared):
        return Shared(pytree.tree_map(_cut_off, leaf.value))
    if not isinstance(leaf, Tensor):
        return leaf
    return leaf.detach().requires_grad_() if leaf.requires_grad else leaf.detach()


@contextmanager
def _modes_kept(encoder: nn.Module) -> Iterator[None]:
    before = [(module, module.training) for module in encoder.modules()]
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


@contextmanager
def _values_kept(tensors: Iterable[Tensor]) -> Iterator[None]:
    before = [(tensor, tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in before:
                if not torch.equal(tensor, value):
                    tensor.copy_(value)


def named_leaves(tree: Any, name: str) -> dict[str, Any]:
    """Return the leaves of a pytree by their paths, e.g. "features['levels'][0]".

    `tree_flatten_with_path` would refuse classes that are registered without names.
    """
    children, _ = pytree.tree_flatten(tree, is_leaf=lambda x: x is not tree)
    if len(children) == 1 and children[0] is tree:
        return {name: tree}
    if isinstance(tree, Mapping):
        labels = [f"[{key!r}]" for key in tree]
    elif hasattr(tree, "_fields"):
        labels = [f".{field}" for field in tree._fields]
    else:
        labels = [f"[{i}]" for i in range(len(children))]
    found: dict[str, Any] = {}
    for label, child in zip(labels, children, strict=True):
        found |= named_leaves(child, name + label)
    return found
