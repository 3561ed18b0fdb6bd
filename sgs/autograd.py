"""The node of the user's graph whose backward is the second pass."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.autograd.graph import saved_tensors_hooks

from sgs.items.features import is_differentiable
from sgs.training_call import TrainingCall


def put_in_graph(call: TrainingCall, features: Sequence[Any]) -> tuple[Any, ...]:
    """Return the features of the first pass as outputs of a node whose backward is the second.

    NOTE [ Freed with the graph ]
    The call holds the items. As an attribute of the node it would live as long as the loss, which
    in an ordinary loop is until the end of the next forward pass. It is therefore packed in place
    of a saved tensor: autograd frees it after the backward, unless the graph is retained, and
    raises its usual error in a second backward.
    """
    handover: list[TrainingCall] = []

    def unpack(packed: TrainingCall) -> Tensor:
        handover.append(packed)
        return torch.empty(0)

    with saved_tensors_hooks(lambda _: call, unpack):
        leaves: tuple[Any, ...] = SequentialGradient.apply(  # type: ignore[no-untyped-call]
            handover, features, *call.inputs
        )
    return leaves


class SequentialGradient(torch.autograd.Function):
    """Returns the features; its backward is stage 3."""

    @staticmethod
    def forward(
        ctx: Any, handover: list[TrainingCall], features: Sequence[Any], *inputs: Tensor
    ) -> tuple[Any, ...]:
        """Put the features of the first pass into the graph of `inputs`."""
        ctx.handover = handover
        ctx.save_for_backward(torch.empty(0))  # See NOTE [ Freed with the graph ].
        ctx.set_materialize_grads(False)
        tensors = [x for x in features if isinstance(x, Tensor)]
        ctx.mark_non_differentiable(*(x for x in tensors if not is_differentiable(x)))
        return tuple(features)

    @staticmethod
    @_disable_dynamo
    def backward(ctx: Any, *feature_gradients: Tensor | None) -> tuple[Any, ...]:
        """Run stage 3.

        Raises:
            RuntimeError: If the backward was called with `create_graph=True`.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(
                "SequentialGradientSampler: backward(create_graph=True) is not supported, because "
                "the gradients are computed micro-batch by micro-batch, without a graph. Compute "
                "second derivatives with respect to the features, or without the sampler."
            )
        _ = ctx.saved_tensors  # unpacks the call
        return None, None, *ctx.handover.pop().gradients(feature_gradients)
