"""The encoder's outputs for all items, collected from micro-batches."""

from collections.abc import Sequence
from types import NoneType
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils import _pytree as pytree


class FeatureBuffer:
    """The features of all items, written micro-batch by micro-batch.

    Allocated once, in the structure of the first micro-batch's outputs. Concatenating a list of
    parts would take twice the memory.

    Args:
        lead_shape: The items' dimensions, e.g. `[videos, items]`.
    """

    def __init__(self, lead_shape: torch.Size) -> None:
        self._lead_shape = lead_shape
        self._structure: pytree.TreeSpec | None = None
        self._first_size: int | None = None
        self.leaves: list[Any] = []
        self._rows: list[Any] = []

    def write(self, index: Int64[Tensor, " micro_batch"], outputs: Any) -> None:
        """Store the outputs of the items at `index`.

        Raises:
            ValueError: If an output does not hold one row per item, or its structure, shape, dtype
                or constants differ from those of earlier micro-batches.
        """
        leaves, structure = pytree.tree_flatten(outputs)
        for leaf in leaves:
            _check_rows(leaf, len(index), self._first_size)
        if self._structure is None:
            self._structure, self._first_size = structure, len(index)
            self.leaves = [self._allocate(leaf) for leaf in leaves]
            self._rows = [self.rows(x) if isinstance(x, Tensor) else x for x in self.leaves]
        if structure != self._structure:
            raise ValueError(
                f"the encoder returned {structure} for one micro-batch and {self._structure} for "
                "another: expected the same structure for all items."
            )
        for rows, leaf in zip(self._rows, leaves, strict=True):
            _store(rows, index, leaf)

    def _allocate(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return leaf.new_empty((*self._lead_shape, *leaf.shape[1:]))

    def rows(self, leaf: Tensor) -> Tensor:
        """Return a view of a leaf with one row per item."""
        return leaf.view(self._lead_shape.numel(), *leaf.shape[len(self._lead_shape) :])

    def restore(self, leaves: Sequence[Any]) -> Any:
        """Return `leaves` in the structure of the encoder's output."""
        assert self._structure is not None
        return pytree.tree_unflatten(list(leaves), self._structure)

    def of_sampling(self) -> Float[Tensor, "videos items channels"]:
        """Return the features for feature-guided strategies.

        Raises:
            ValueError: If the encoder returned several tensors.
        """
        tensors = [x for x in self.leaves if isinstance(x, Tensor)]
        if len(tensors) != 1:
            raise ValueError(
                f"the encoder returned {len(tensors)} tensors: expected a single one, since a "
                "feature-guided strategy compares one feature per item. Use a strategy without "
                "features, e.g. Random()."
            )
        return tensors[0].reshape(self._lead_shape[:-1].numel(), self._lead_shape[-1], -1)

    def flatten(self, gradients: Any) -> list[Tensor | None]:
        """Return the leaves of a pytree of feature gradients.

        Raises:
            ValueError: If the structure or a shape is not that of the features.
        """
        leaves, structure = pytree.tree_flatten(gradients)
        expected = [x.shape if isinstance(x, Tensor) else None for x in self.leaves]
        if structure != self._structure or any(
            g is not None and (not isinstance(g, Tensor) or g.shape != shape)
            for g, shape in zip(leaves, expected, strict=True)
        ):
            got = [list(g.shape) if isinstance(g, Tensor) else g for g in leaves]
            raise ValueError(
                f"feature_gradients of shape {got}: expected one gradient per feature tensor, in "
                f"the structure of `features` and of shape {[s and list(s) for s in expected]}."
            )
        return leaves


def _store(rows: Any, index: Tensor, leaf: Any) -> None:
    """Write one output leaf of a micro-batch into the rows of all items."""
    if not isinstance(leaf, Tensor):
        if not isinstance(rows, Tensor) and leaf == rows:
            return
        raise ValueError(
            f"the encoder returned {leaf!r} for one micro-batch and {rows!r} for another: expected "
            "outputs other than tensors to be the same for all items."
        )
    if leaf.shape[1:] != rows.shape[1:]:
        raise ValueError(
            f"the encoder returned features of shape {list(leaf.shape[1:])} for one micro-batch "
            f"and {list(rows.shape[1:])} for another: expected one shape for all items. Pad them "
            "to one length."
        )
    if leaf.dtype != rows.dtype:
        raise ValueError(
            f"the encoder returned {leaf.dtype} for a micro-batch of {len(index)} item(s) and "
            f"{rows.dtype} for another: expected one dtype for all items. A layer chose it by the "
            "items, as nn.LSTM does under autocast for a PackedSequence of equal lengths. Cast the "
            "output to one dtype in the encoder, e.g. with .float()."
        )
    rows.index_copy_(0, index.to(rows.device), leaf)


def _check_rows(leaf: Any, num_items: int, first_size: int | None) -> None:
    if type(leaf).__name__.endswith("Cache"):
        raise ValueError(
            f"the encoder returned a {type(leaf).__name__}: expected tensors and constants. It "
            "holds keys and values for generation, which training does not need. Pass "
            "use_cache=False in the call, or set config.use_cache=False."
        )
    if not isinstance(leaf, Tensor | NoneType | bool | int | float | str):
        raise ValueError(
            f"the encoder returned a {type(leaf).__name__}: expected tensors and constants, in "
            "tuples, lists and dicts. Tensors inside other objects would lose their gradient: "
            "register the class with torch.utils._pytree, or return a dict."
        )
    if isinstance(leaf, Tensor) and (leaf.ndim == 0 or leaf.shape[0] != num_items):
        cause = _MIXES_ITEMS
        if leaf.ndim > 0 and leaf.shape[0] == first_size:
            cause = _HOLDS_NO_ITEMS.format(first_size=first_size)
        raise ValueError(
            f"the encoder returned a tensor of shape {list(leaf.shape)} for a micro-batch of "
            f"{num_items} item(s): expected {num_items} row(s), one per item. {cause}"
        )


_MIXES_ITEMS = (
    "Values that mix items, e.g. an auxiliary loss over the batch, cannot be computed in "
    "micro-batches."
)
_HOLDS_NO_ITEMS = (
    "It had {first_size} rows for {first_size} items, too: a tensor whose first size does not "
    "follow the number of items, e.g. a weight or a table. Leave it out of the output, or expand "
    "it to one row per item: x.expand(len(items), *x.shape)."
)


def is_differentiable(tensor: Tensor) -> bool:
    """Tell whether a tensor of this dtype can have a gradient."""
    return tensor.is_floating_point() or tensor.is_complex()
