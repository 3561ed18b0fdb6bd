"""The outputs of the frozen stem, kept for the second pass."""

from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils import _pytree as pytree


class StemCache:
    """The frozen stem's outputs for the items that may be encoded again.

    They are copied, since the encoder may change its arguments in place.

    Args:
        num_items: The number of all items.
        device: The device of the copies; that of the outputs if None.
    """

    def __init__(self, num_items: int, *, device: torch.device | str | None) -> None:
        self._device = None if device is None else torch.device(device)
        self._number = torch.full((num_items,), -1, device="cpu")
        self._row = torch.zeros(num_items, dtype=torch.int64, device="cpu")
        self._micro_batches: list[list[Any]] = []
        self._origins: list[Any] = []
        self._structure: pytree.TreeSpec | None = None

    def add(self, index: Int64[Tensor, " micro_batch"], outputs: Any) -> None:
        """Keep the outputs for the items at `index`.

        Raises:
            ValueError: If a tensor does not hold one row per item.
        """
        leaves, self._structure = pytree.tree_flatten(outputs)
        shapes = [list(x.shape) for x in leaves if isinstance(x, Tensor)]
        if not shapes or any(shape[:1] != [len(index)] for shape in shapes):
            raise ValueError(
                f"the frozen stem returned tensors of shapes {shapes} for {len(index)} item(s): "
                "expected one row per item in each, since its outputs are cut into micro-batches."
            )
        self._number[index] = len(self._micro_batches)
        self._row[index] = torch.arange(len(index), device="cpu")
        self._origins = [x.device if isinstance(x, Tensor) else None for x in leaves]
        self._micro_batches.append([_copied(x, self._device) for x in leaves])

    def take(self, index: Int64[Tensor, " micro_batch"]) -> Any:
        """Return a copy of the stem's outputs for some items, on their original device.

        Raises:
            RuntimeError: If some of them were not kept.
        """
        number = self._number[index]
        if (number < 0).any():
            raise RuntimeError(
                f"the frozen stem's outputs of the items {index[number < 0][:4].tolist()} were not "
                "kept, since these items were not drawn. Pass an index of drawn items only, or "
                "use a sampler with ratio=1."
            )
        # A call without items has one empty micro-batch.
        distinct = number.unique().tolist() or [0]
        parts = [self._rows(n, self._row[index[number == n]]) for n in distinct]
        joined = parts[0] if len(parts) == 1 else [_joined(*x) for x in zip(*parts, strict=True)]
        place = number.argsort(stable=True).argsort()
        leaves = [
            x[place.to(x.device)] if isinstance(x, Tensor) and len(parts) > 1 else x for x in joined
        ]
        assert self._structure is not None
        return pytree.tree_unflatten(leaves, self._structure)

    def _rows(self, number: int, row: Tensor) -> list[Any]:
        kept = zip(self._micro_batches[number], self._origins, strict=True)
        return [
            x[row.to(x.device)].to(origin, non_blocking=True) if isinstance(x, Tensor) else x
            for x, origin in kept
        ]


def _copied(leaf: Any, device: torch.device | None) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    return leaf.detach().to(leaf.device if device is None else device, copy=True)


def _joined(*parts: Any) -> Any:
    return torch.cat(parts) if isinstance(parts[0], Tensor) else parts[0]
