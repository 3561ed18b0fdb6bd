"""The node of the user's graph behind which the encoder is replayed."""

from typing import Any

import torch
from torch import Tensor

from sgs.engine import TwoPasses
from sgs.features import is_differentiable
from sgs.subset import Subset


class SequentialGradient(torch.autograd.Function):
    """Features in front, stage 3 behind: its backward is the second pass."""

    @staticmethod
    def forward(
        ctx: Any, passes: TwoPasses, subset: Subset, features: list[Any], *inputs: Tensor
    ) -> tuple[Any, ...]:
        """Put the features of the first pass into the graph of `inputs`."""
        ctx.passes, ctx.subset = passes, subset
        ctx.set_materialize_grads(False)
        tensors = [x for x in features if isinstance(x, Tensor)]
        ctx.mark_non_differentiable(*(x for x in tensors if not is_differentiable(x)))
        return tuple(features)

    @staticmethod
    def backward(ctx: Any, *feature_gradients: Tensor | None) -> tuple[Any, ...]:
        """Run stage 3.

        Raises:
            RuntimeError: If a graph of the gradients is asked for.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(
                "SequentialGradientSampler: backward(create_graph=True) is not supported, because "
                "the gradients are computed micro-batch by micro-batch and keep no graph. Compute "
                "second derivatives with respect to the features, or without the sampler."
            )
        gradients = ctx.passes.gradients(ctx.subset, feature_gradients)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Every rank must take part in the reduction of every parameter.
            pairs = zip(gradients, ctx.passes.inputs, strict=True)
            gradients = [torch.zeros_like(t) if g is None else g for g, t in pairs]
        return None, None, None, *gradients
