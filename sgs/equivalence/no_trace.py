"""A call of the encoder, with its backward, that leaves no trace."""

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
    """An encoder and arguments that may be called and back-propagated through.

    Attributes:
        encoder: The user's encoder, whose parameters are aliases while the trial lasts.
        args: The positional arguments, outside of any graph.
        kwargs: The keyword arguments, likewise.
        items: The items among them.
        stem: Runs before the encoder, if there is one.
        circumstances: The state of the encoder's modules when the trial began.
    """

    encoder: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    items: CallArguments
    stem: FrozenStem | None
    circumstances: Circumstances

    def features_of(self, index: Int64[Tensor, " items"]) -> dict[str, Any]:
        """Call the encoder itself on some of the items, in the graph of all of them."""

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
        """Return the gradients that the trial has gathered so far, beside some features."""
        named = {**named_leaves(self.args, "args"), **named_leaves(self.kwargs, "kwargs")}
        leaves = {
            key: leaf
            for name, x in named.items()
            for key, leaf in named_leaves(x.value if isinstance(x, Shared) else x, name).items()
        }
        trained = {n: p.grad for n, p in self.encoder.named_parameters() if p.requires_grad}
        tensors = {n: x for n, x in leaves.items() if isinstance(x, Tensor) and x.requires_grad}
        # The features may share memory with buffers that are about to be put back.
        kept = {n: x.detach().clone() if isinstance(x, Tensor) else x for n, x in features.items()}
        return Outcome(kept, trained, {n: x.grad for n, x in tensors.items()})


@contextmanager
def trial(
    sampler: SequentialGradientSampler, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[Trial]:
    """Let the sampler's encoder run inside, and leave all as it was found.

    NOTE [ No trace ]
    Parameters are replaced by aliases, so a backward inside neither touches their `.grad` nor calls
    their hooks, e.g. of an optimizer that steps in the backward; `autograd.grad`, which would not
    either, cannot pass through reentrant checkpoints. Aliases share the memory of the parameters,
    and edits through `.data` are counted nowhere, so values are compared and put back. What modules
    keep inside of objects other than lists, dicts and sets is beyond reach.

    Yields:
        The encoder, and the arguments cut off from the graphs that lead to them.
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
        # Aliases of its own for each trial: autocast keeps a cast of every weight that it has seen.
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
    """Return the leaves of a pytree by how they are reached, e.g. "features['levels'][0]".

    Not `tree_flatten_with_path`, which refuses classes that are registered without names.
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
