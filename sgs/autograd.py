"""The node of the user's graph behind which the encoder is replayed."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from sgs.engine import TwoPasses
from sgs.items.features import is_differentiable
from sgs.late_subset import SubsetOf


def put_in_graph(
    passes: TwoPasses, subset_of: SubsetOf, features: Sequence[Any]
) -> tuple[Any, ...]:
    """Return the features of the first pass, with the second pass behind them.

    NOTE [ Freed with the graph ]
    The passes hold the items. As an attribute of the node they would live as long as the loss
    does, which in an ordinary loop is the whole next forward pass. So they are packed like a saved
    tensor: autograd drops them after the backward, unless the graph is retained, and says so
    itself when a second backward wants them.
    """
    handover: list[TwoPasses] = []

    def unpack(packed: TwoPasses) -> Tensor:
        handover.append(packed)
        return torch.empty(0)

    with saved_tensors_hooks(lambda _: passes, unpack):
        leaves: tuple[Any, ...] = SequentialGradient.apply(  # type: ignore[no-untyped-call]
            handover, subset_of, features, *passes.inputs
        )
    return leaves


class SequentialGradient(torch.autograd.Function):
    """Features in front, stage 3 behind: its backward is the second pass."""

    @staticmethod
    def forward(
        ctx: Any,
        handover: list[TwoPasses],
        subset_of: SubsetOf,
        features: Sequence[Any],
        *inputs: Tensor,
    ) -> tuple[Any, ...]:
        """Put the features of the first pass into the graph of `inputs`."""
        ctx.handover, ctx.subset_of = handover, subset_of
        ctx.save_for_backward(torch.empty(0))  # See NOTE [ Freed with the graph ].
        ctx.set_materialize_grads(False)
        tensors = [x for x in features if isinstance(x, Tensor)]
        ctx.mark_non_differentiable(*(x for x in tensors if not is_differentiable(x)))
        return tuple(features)

    @staticmethod
    @torch.compiler.disable  # type: ignore[untyped-decorator]
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
        _ = ctx.saved_tensors  # unpacks the passes
        passes = ctx.handover.pop()
        subset = ctx.subset_of(feature_gradients)
        return None, None, None, *passes.gradients(subset, feature_gradients)
