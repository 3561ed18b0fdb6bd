"""The arguments of a call as fake tensors."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils import _pytree as pytree

from sgs.items import Shared
from sgs.planning.dry_run import DryRun
from sgs.source import Source, SourceBatch, fetch_rows

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class FakeSource:
    """A source of fake items like those of another.

    Args:
        length: The number of items.
        template: What was fetched for some of them.
        dry_run: What makes tensors fake.
    """

    def __init__(self, length: int, template: Any, dry_run: DryRun) -> None:
        self._length, self._template, self._dry_run = length, template, dry_run

    def __len__(self) -> int:
        return self._length

    def fetch(self, index: Int64[Tensor, " micro_batch"]) -> Any:
        """Return fake rows; on the thread that fetches, where no mode is active."""

        def make(leaf: Tensor) -> Tensor:
            return torch.empty(len(index), *leaf.shape[1:], dtype=leaf.dtype, device="cpu")

        with self._dry_run.fake_mode:
            return pytree.tree_map(make, self._template)

    def __deepcopy__(self, memo: dict[int, Any]) -> FakeSource:
        return self


def fake_arguments(items: Any, dry_run: DryRun) -> Arguments:
    """Return positional and keyword arguments without memory.

    Args:
        items: A tensor or a source, or a tuple or dict of arguments.
        dry_run: What makes tensors fake.
    """
    given: Any = items if isinstance(items, tuple | dict) else (items,)
    copied = dry_run.copy(pytree.tree_map(lambda leaf: _described(leaf, dry_run), given))
    return ((), copied) if isinstance(copied, dict) else (copied, {})


def _described(leaf: Any, dry_run: DryRun) -> Any:
    """Return what can be copied: tensors that are leaves of a graph, and fake sources."""
    if isinstance(leaf, Shared):
        return Shared(pytree.tree_map(lambda x: _described(x, dry_run), leaf.value))
    if isinstance(leaf, SourceBatch):
        return SourceBatch([_described(source, dry_run) for source in leaf.sources])
    if isinstance(leaf, Source):
        first = torch.arange(min(len(leaf), 1), device="cpu")
        return FakeSource(len(leaf), fetch_rows(leaf, first), dry_run)
    needs_gradient = isinstance(leaf, Tensor) and leaf.requires_grad
    return leaf.detach().requires_grad_() if needs_gradient else leaf
