"""The gradients of a call's arguments, put together from micro-batches."""

from collections.abc import Sequence

import torch
from torch import Tensor

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
        self._items = [torch.zeros_like(t) if needs(t) else None for t in call.item_tensors]

    def add(self, index: Tensor, cuts: Sequence[Tensor]) -> None:
        """Add the gradients of a micro-batch's own part of the items."""
        for gradient, cut in zip(self._items, cuts, strict=True):
            if gradient is not None and cut.grad is not None:
                gradient[self._call.position(index, gradient.device)] += cut.grad

    def result(self) -> list[Tensor | None]:
        """Return one gradient for each of the call's `tensors`; None where none is needed."""
        return [*self._items, *(tensor.grad for tensor in self.shared)]
