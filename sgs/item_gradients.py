"""The gradients of a call's arguments, put together from micro-batches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sgs.gradient_sum import GradientSum
from sgs.items import ItemCall


class ItemGradients:
    """Room for the gradients of the tensors of a call.

    Args:
        call: The call.

    Attributes:
        shared: Leaves that every micro-batch receives in place of the call's shared tensors; their
            gradients add up over the micro-batches.
    """

    def __init__(self, call: ItemCall) -> None:
        self._call = call
        needs = call.needs_gradient
        self.shared = [t.detach().requires_grad_(needs(t)) for t in call.shared_tensors]
        self._shared = [GradientSum(leaf) for leaf in self.shared]
        self._items: list[Tensor | None] = [None] * len(call.item_tensors)

    def add(self, index: Tensor, cuts: Sequence[Tensor]) -> None:
        """Add the gradients of a micro-batch's own part of the items."""
        for i, (tensor, cut) in enumerate(zip(self._call.item_tensors, cuts, strict=True)):
            if cut.grad is None:
                continue
            found = self._items[i]
            if found is None:
                # Only now: what the encoder does not use keeps None, as in a naive graph.
                self._items[i] = found = torch.zeros_like(tensor)
            found[self._call.position(index, found.device)] += cut.grad

    def result(self) -> list[Tensor | None]:
        """Return one gradient for each of the call's `tensors`; None where none is needed."""
        return [*self._items, *(found.result() for found in self._shared)]
