"""The bytes of all tensors that are alive at once, by what they are for."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

IGNORED = ""


@dataclass
class _Allocation:
    """The memory of some tensors, views of each other."""

    size: int
    category: str


class LiveBytes(TorchDispatchMode):
    """Counts the memory of tensors from the operation that makes them until it is freed.

    Memory is counted once, whatever views it has, and until its last owner is gone, which may be a
    graph that no Python object refers to. Works alike on tensors of every device and on fake ones.
    Memory that was there before is counted once `assign` has named it. Not seen is what a kernel
    takes and gives back within one operation, such as the workspace of a convolution.

    Args:
        block: Every piece of memory takes a multiple of so many bytes; 512 in the allocator of
            CUDA. 1 counts what tensors hold.
        only: Tensors of other types are not counted.

    Attributes:
        category: What new memory is for, by a name.
        current: The bytes alive now, by category.
        peak: The bytes that were alive when they were most.
    """

    def __init__(self, *, block: int = 1, only: type[Tensor] = Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._block = block
        self._only = only
        self._known: dict[int, _Allocation] = {}
        self.category = "other"
        self.current: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self._total = self._largest = 0

    def restart_peak(self) -> None:
        """Forget the peak so far."""
        self._largest = 0
        self._note()

    @contextmanager
    def of(self, category: str) -> Iterator[None]:
        """Let new memory belong to a category inside."""
        before, self.category = self.category, category
        try:
            yield
        finally:
            self.category = before

    def assign(self, tensors: Iterable[Any], category: str) -> None:
        """Say what the memory of some tensors is for, also of those that were there before.

        Args:
            tensors: Tensors; other objects are skipped.
            category: A name; `IGNORED` for memory that is never counted, such as the host's.
        """
        for tensor in tensors:
            if isinstance(tensor, self._only):
                self._assign(tensor, category)

    def move(self, category: str, to: str) -> None:
        """Move all memory of a category to another."""
        for known in self._known.values():
            if known.category == category:
                known.category = to
        self.current[to] += self.current.pop(category, 0)

    def _assign(self, tensor: Tensor, category: str) -> None:
        known = self._known.get(tensor.untyped_storage()._cdata)
        if known is None:
            self._add(tensor, category)
        elif known.category not in (category, IGNORED):
            size = known.size
            self._resize(known, 0)
            known.category, known.size = category, 0
            self._resize(known, size)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count what it returns."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        unknown = [x for x in pytree.tree_leaves(result) if self._is_unknown(x)]
        if unknown:
            # Views of what was there before are no new memory. `torch.tensor` shows what it makes
            # as an argument.
            if func is not torch.ops.aten.lift_fresh.default:
                self._add_all(pytree.tree_leaves((args, kwargs)), IGNORED)
            self._add_all(unknown, self.category)
        return result

    def _is_unknown(self, leaf: Any) -> bool:
        if not isinstance(leaf, self._only):
            return False
        known = self._known.get(leaf.untyped_storage()._cdata)
        if known is not None:
            self._resize(known, self._taken(leaf))
        return known is None

    def _add_all(self, leaves: Iterable[Any], category: str) -> None:
        for leaf in leaves:
            if self._is_unknown(leaf):
                self._add(leaf, category)

    def _add(self, tensor: Tensor, category: str) -> None:
        storage = tensor.untyped_storage()
        known = self._known[storage._cdata] = _Allocation(0, category)
        # The object lives as long as the memory does, also where only a graph in C++ owns it.
        weakref.finalize(storage, self._drop, storage._cdata).atexit = False
        self._resize(known, self._taken(tensor))

    def _drop(self, key: int) -> None:
        self._resize(self._known.pop(key), 0)

    def _resize(self, known: _Allocation, size: int) -> None:
        if known.category == IGNORED:
            return
        self.current[known.category] += size - known.size
        self._total += size - known.size
        known.size = size
        self._note()

    def _note(self) -> None:
        if self._total > self._largest:
            self._largest = self._total
            self.peak = +self.current

    def _taken(self, tensor: Tensor) -> int:
        return -(-tensor.untyped_storage().nbytes() // self._block) * self._block
