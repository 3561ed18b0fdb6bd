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
    """The arguments of a call as fake tensors.

    Attributes:
        args: Positional arguments; sources are replaced by tensors.
        kwargs: Keyword arguments; sources are replaced by tensors.
        tensors: Their tensors, shared ones included.
        host: The tensors of items that lie in host memory; the device gets copies of them.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: list[Tensor]
    host: list[Tensor]

    def is_on_host(self, tensor: Tensor) -> bool:
        """Tell whether a tensor of items lies in host memory."""
        return any(tensor is x for x in self.host)


@dataclass(frozen=True)
class MetaArguments:
    """Positional and keyword arguments of one call, with tensors on the meta device."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @staticmethod
    def of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> MetaArguments:
        """Return the arguments of a call without their memory."""
        copyable = pytree.tree_map(_copyable, (args, kwargs))
        return MetaArguments(*pytree.tree_map(_without_memory, copyable))


@dataclass(frozen=True)
class _Fetched:
    """All items of a source, as tensors without memory."""

    items: Any


def fake_arguments(items: Any, dry_run: DryRun, *, items_on_device: bool) -> FakeArguments:
    """Return the arguments of a call as fake tensors.

    Args:
        items: A tensor or a source, a tuple or a dict of arguments, or both as `MetaArguments`.
        dry_run: Makes the fake tensors.
        items_on_device: Whether tensors lie on the device; the items of sources never do.
    """
    arguments: Any = items if isinstance(items, tuple | dict) else (items,)
    if isinstance(items, MetaArguments):
        arguments = items.args, items.kwargs
    copied = dry_run.copy(pytree.tree_map(_copyable, arguments))
    leaves = pytree.tree_leaves(copied)
    fetched = [x.items for x in leaves if isinstance(x, _Fetched)]
    plain = [x for x in leaves if isinstance(x, Tensor)]
    shared = [x.value for x in leaves if isinstance(x, Shared)]
    host = _tensors(fetched) + ([] if items_on_device else plain)
    arguments = pytree.tree_map(lambda x: x.items if isinstance(x, _Fetched) else x, copied)
    if isinstance(items, MetaArguments):
        args, kwargs = arguments
    else:
        args, kwargs = ((), arguments) if isinstance(arguments, dict) else (arguments, {})
    return FakeArguments(args, kwargs, [*_tensors(fetched), *plain, *_tensors(shared)], host)


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(tree) if isinstance(x, Tensor)]


def _copyable(leaf: Any) -> Any:
    """Return what `copy.deepcopy` accepts: tensors without a graph, no sources."""
    if isinstance(leaf, Shared):
        return Shared(pytree.tree_map(_copyable, leaf.value))
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
    """Return tensors without memory of the shape of all items; only the first is fetched."""

    def empty(rows: Tensor) -> Tensor:
        shape = (*lead_shape_of(source), *rows.shape[1:])
        return torch.empty(shape, dtype=rows.dtype, device="meta")

    first = torch.arange(min(len(source), 1), device="cpu")
    return pytree.tree_map(empty, fetch_rows(source, first))
