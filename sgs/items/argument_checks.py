"""Arguments that cannot be cut into micro-batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sgs.items.shared import Shared
from sgs.items.source import Source

CONSTANTS = (bool, int, float, str)


def refuse_hidden_items(leaf: Any) -> None:
    """Refuse an argument whose tensors cannot be found, and so would not be cut."""
    if isinstance(leaf, Source):
        return
    if isinstance(leaf, Tensor):
        if leaf.is_nested:
            raise TypeError(
                "an argument is a nested tensor: expected a padded tensor and a mask or lengths, "
                "since a nested tensor cannot be cut into micro-batches."
            )
        return
    fields = leaf if isinstance(leaf, Mapping) else getattr(leaf, "__dict__", {})
    hides = not isinstance(leaf, Shared | nn.Module) and any(
        isinstance(value, Tensor) for value in fields.values()
    )
    if hides or getattr(leaf, "ndim", 0) > 0:
        raise TypeError(
            f"an argument is a {type(leaf).__name__}: expected tensors, also inside of tuples, "
            "lists and dicts, since each is cut into micro-batches. Pass dict(...) of it or "
            "torch.from_numpy(...), register the class with torch.utils._pytree, or wrap arguments "
            "that all items share in Shared(...)."
        )


def refuse_lists_of_constants(arguments: Any, num_items: int) -> None:
    """Refuse lists of one number or string per item, e.g. lengths, texts or file names."""

    def is_suspect(node: Any) -> bool:
        constants = isinstance(node, list) and all(isinstance(x, CONSTANTS) for x in node)
        # Up to four numbers are more likely a size than one number per item.
        return constants and len(node) == num_items > 4

    nodes = pytree.tree_leaves(arguments, is_leaf=is_suspect)
    if any(is_suspect(node) for node in nodes):
        raise TypeError(
            f"an argument is a list of {num_items} numbers or strings, as many as there are items: "
            "every micro-batch would receive all of them. Expected a tensor with one entry per "
            "item. Wrap the list in Shared(...) if all items share it."
        )
