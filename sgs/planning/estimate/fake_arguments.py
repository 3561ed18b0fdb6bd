"""The arguments of a call as fake tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from sgs.items.shared import Shared
from sgs.items.source import Source, fetch_rows, lead_shape_of
from sgs.planning.estimate.fake_tensors import DryRun


@dataclass(frozen=True)
class FakeArguments:
    """The arguments of a call without memory.

    Attributes:
        args: Positional ones; sources have become tensors.
        kwargs: Keyword arguments, likewise.
        tensors: Those that hold items, or are shared by them.
        host: The tensors of items that lie in host memory, of which the device sees copies.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: list[Tensor]
    host: list[Tensor]

    def is_on_host(self, tensor: Tensor) -> bool:
        """Tell whether a tensor of items lies in host memory."""
        return any(tensor is x for x in self.host)


@dataclass(frozen=True)
class Given:
    """Positional and keyword arguments of one call, described by tensors without memory."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @staticmethod
    def of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Given:
        """Describe the arguments of a call."""
        described = pytree.tree_map(_described, (args, kwargs))
        return Given(*pytree.tree_map(_without_memory, described))


@dataclass(frozen=True)
class _Fetched:
    """What a source would fetch if it were asked for all items."""

    items: Any


def fake_arguments(items: Any, dry_run: DryRun, *, items_on_device: bool) -> FakeArguments:
    """Return positional and keyword arguments without memory.

    Args:
        items: A tensor or a source, a tuple or a dict of arguments, or both as `Given`.
        dry_run: What makes tensors fake.
        items_on_device: Whether tensors lie on the device; what sources fetch does not.
    """
    given: Any = items if isinstance(items, tuple | dict) else (items,)
    if isinstance(items, Given):
        given = items.args, items.kwargs
    copied = dry_run.copy(pytree.tree_map(_described, given))
    leaves = pytree.tree_leaves(copied)
    fetched = [x.items for x in leaves if isinstance(x, _Fetched)]
    plain = [x for x in leaves if isinstance(x, Tensor)]
    shared = [x.value for x in leaves if isinstance(x, Shared)]
    host = _tensors(fetched) + ([] if items_on_device else plain)
    arguments = pytree.tree_map(lambda x: x.items if isinstance(x, _Fetched) else x, copied)
    if isinstance(items, Given):
        args, kwargs = arguments
    else:
        args, kwargs = ((), arguments) if isinstance(arguments, dict) else (arguments, {})
    return FakeArguments(args, kwargs, [*_tensors(fetched), *plain, *_tensors(shared)], host)


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(tree) if isinstance(x, Tensor)]


def _described(leaf: Any) -> Any:
    """Return what can be copied: tensors that are leaves of a graph."""
    if isinstance(leaf, Shared):
        return Shared(pytree.tree_map(_described, leaf.value))
    if isinstance(leaf, Source):
        return _Fetched(_all_items_of(leaf))
    needs_gradient = isinstance(leaf, Tensor) and leaf.requires_grad
    return leaf.detach().requires_grad_() if needs_gradient else leaf


def _without_memory(leaf: Any) -> Any:
    if isinstance(leaf, Shared):
        return Shared(pytree.tree_map(_without_memory, leaf.value))
    if not isinstance(leaf, Tensor):
        return leaf
    return leaf.detach().to("meta").requires_grad_(leaf.requires_grad)


def _all_items_of(source: Source) -> Any:
    """Describe all items by the first one."""

    def make(rows: Tensor) -> Tensor:
        shape = (*lead_shape_of(source), *rows.shape[1:])
        return torch.empty(shape, dtype=rows.dtype, device="meta")

    first = torch.arange(min(len(source), 1), device="cpu")
    return pytree.tree_map(make, fetch_rows(source, first))
