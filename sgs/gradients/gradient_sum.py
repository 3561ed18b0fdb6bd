"""The gradient of a leaf, added up over micro-batches."""

from functools import partial

import torch
from torch import Tensor


class GradientSum:
    """The sum of a leaf's gradients over the backward passes of all micro-batches.

    NOTE [ Half precision is summed in float32 ]
    In a naive graph the gradient of a weight is one product, accumulated in float32 and rounded
    once. A half-precision `.grad` would be rounded once per micro-batch. It would stop growing when
    a summand is below half of its last digit: in bfloat16, after 256 equal summands.

    Args:
        leaf: A leaf tensor, whose `.grad` is used if it requires a gradient.
    """

    __slots__ = ("_leaf", "_wide")

    def __init__(self, leaf: Tensor) -> None:
        self._leaf = leaf
        self._wide: list[Tensor] = []
        if leaf.requires_grad and leaf.is_floating_point() and leaf.itemsize < 4:
            # Not a bound method, which would make a reference cycle with the leaf.
            leaf.register_post_accumulate_grad_hook(partial(_move, into=self._wide))

    def restart(self) -> None:
        """Drop the sum."""
        self._wide.clear()
        self._leaf.grad = None

    def take(self) -> Tensor | None:
        """Return the sum in the precision of the leaf, or None if nothing was added; start anew."""
        found = self._wide[0].to(self._leaf.dtype) if self._wide else self._leaf.grad
        self.restart()
        return found


def _move(leaf: Tensor, *, into: list[Tensor]) -> None:
    assert leaf.grad is not None
    wide = leaf.grad.to(torch.float32)
    if into:
        into[0] += wide
    else:
        into.append(wide)
    leaf.grad = None
