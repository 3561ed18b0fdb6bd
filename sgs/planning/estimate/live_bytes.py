"""`LiveBytes`: the bytes of all tensors alive at once, by category."""

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
    """Memory that one or several tensors view."""

    size: int
    category: str


class LiveBytes(TorchDispatchMode):
    """Counts the memory of tensors from the operation that allocates it until it is freed.

    Memory is counted once, however many tensors view it, and until its last owner is gone, which
    may be a graph that no Python object refers to. Works on tensors of every device and on fake
    ones. Memory allocated earlier is counted once `assign` has named it. The memory that a kernel
    allocates and frees within one operation, such as the workspace of a convolution, is not
    counted.

    Args:
        block: Each allocation is rounded up to a multiple of so many bytes; 512 in the allocator
            of CUDA. 1 counts exact sizes.
        only: Tensors of other types are not counted.

    Attributes:
        category: The name that new memory is counted under.
        current: The bytes alive now, by category.
        peak: The bytes by category at the peak of their sum.
    """

    def __init__(self, *, block: int = 1, only: type[Tensor] = Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._block = block
        self._only = only
        self._allocations: dict[int, _Allocation] = {}
        self.category = "other"
        self.current: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self._total = self._peak_total = 0

    def restart_peak(self) -> None:
        """Forget the peak so far."""
        self._peak_total = 0
        self._update_peak()

    @contextmanager
    def of(self, category: str) -> Iterator[None]:
        """Count new memory under a category inside."""
        before, self.category = self.category, category
        try:
            yield
        finally:
            self.category = before

    def assign(self, tensors: Iterable[Any], category: str) -> None:
        """Count the memory of tensors under a category, including tensors made earlier.

        Args:
            tensors: Tensors; other objects are skipped.
            category: A name; `IGNORED` for memory that is never counted, such as that of the host.
        """
        for tensor in tensors:
            if isinstance(tensor, self._only):
                self._assign(tensor, category)

    def move(self, category: str, to: str) -> None:
        """Move all memory of a category to another."""
        for allocation in self._allocations.values():
            if allocation.category == category:
                allocation.category = to
        self.current[to] += self.current.pop(category, 0)

    def _assign(self, tensor: Tensor, category: str) -> None:
        allocation = self._allocations.get(tensor.untyped_storage()._cdata)
        if allocation is None:
            self._add(tensor, category)
        elif allocation.category not in (category, IGNORED):
            size = allocation.size
            self._resize(allocation, 0)
            allocation.category, allocation.size = category, 0
            self._resize(allocation, size)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count what it returns."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        new = [x for x in pytree.tree_leaves(result) if self._is_new(x)]
        if new:
            # Results that view an argument made earlier are no new memory. The argument of
            # `lift_fresh` is itself new: `torch.tensor` has just made it.
            if func is not torch.ops.aten.lift_fresh.default:
                self._add_all(pytree.tree_leaves((args, kwargs)), IGNORED)
            self._add_all(new, self.category)
        return result

    def _is_new(self, leaf: Any) -> bool:
        if not isinstance(leaf, self._only):
            return False
        allocation = self._allocations.get(leaf.untyped_storage()._cdata)
        if allocation is not None:
            self._resize(allocation, self._rounded(leaf))
        return allocation is None

    def _add_all(self, leaves: Iterable[Any], category: str) -> None:
        for leaf in leaves:
            if self._is_new(leaf):
                self._add(leaf, category)

    def _add(self, tensor: Tensor, category: str) -> None:
        storage = tensor.untyped_storage()
        allocation = self._allocations[storage._cdata] = _Allocation(0, category)
        # The storage object lives as long as the memory, even if only a graph in C++ owns it.
        weakref.finalize(storage, self._drop, storage._cdata).atexit = False
        self._resize(allocation, self._rounded(tensor))

    def _drop(self, key: int) -> None:
        self._resize(self._allocations.pop(key), 0)

    def _resize(self, allocation: _Allocation, size: int) -> None:
        if allocation.category == IGNORED:
            return
        self.current[allocation.category] += size - allocation.size
        self._total += size - allocation.size
        allocation.size = size
        self._update_peak()

    def _update_peak(self) -> None:
        if self._total > self._peak_total:
            self._peak_total = self._total
            self.peak = +self.current

    def _rounded(self, tensor: Tensor) -> int:
        return -(-tensor.untyped_storage().nbytes() // self._block) * self._block
