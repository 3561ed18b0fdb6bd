"""The gradients of a call's arguments, collected over micro-batches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sgs.gradients.gradient_sum import GradientSum
from sgs.items.arguments import CallArguments


class ArgumentGradients:
    """Collects the gradients of the tensors of a call.

    Args:
        call: The arguments of the call.

    Attributes:
        shared: Leaf tensors, passed to every micro-batch in place of the call's shared tensors.
            Their gradients add up over the micro-batches.
    """

    def __init__(self, call: CallArguments) -> None:
        self._call = call
        needs = call.needs_gradient
        self.shared = [t.detach().requires_grad_(needs(t)) for t in call.shared_tensors]
        self._shared = [GradientSum(leaf) for leaf in self.shared]
        self._items: list[Tensor | None] = [None] * len(call.item_tensors)

    def add(self, index: Tensor, cuts: Sequence[Tensor]) -> None:
        """Add the gradients of the items of a micro-batch, those of its `cuts`."""
        for i, cut in enumerate(cuts):
            if cut.grad is None:
                continue
            found = self._items[i]
            if found is None:
                # Allocated late: an unused argument keeps None, as in a naive graph.
                self._items[i] = found = torch.zeros_like(self._call.item_tensors[i])
            found[self._call.position(index, found.device)] += cut.grad

    def restart(self) -> None:
        """Forget what was added."""
        self._items = [None] * len(self._items)
        for found in self._shared:
            found.restart()

    def take(self) -> list[Tensor | None]:
        """Return one gradient for each of the call's `tensors`, and start anew.

        None for tensors that require no gradient or are not used by the encoder.
        """
        gradients = [*self._items, *(found.take() for found in self._shared)]
        self.restart()
        return gradients
