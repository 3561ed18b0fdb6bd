"""Batch normalisation by constants."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_Values = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


class FrozenBatchNorm(nn.Module):
    """Batch normalisation by running statistics, also in training mode.

    Its state-dict keys are those of `nn.BatchNorm*d`, so each loads checkpoints of the other.

    Args:
        source: The layer to replace. Its parameters and buffers are reused, not copied, so an
            optimizer stays valid.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, source: _BatchNorm) -> None:
        super().__init__()
        self.eps = source.eps
        self.weight = source.weight
        self.bias = source.bias
        for name, buffer in source.named_buffers(recurse=False):
            self.register_buffer(name, buffer)

    def forward(self, features: Float[Tensor, "items channels *rest"]) -> Float[Tensor, "..."]:
        """Normalise each channel."""
        values = self.running_mean, self.running_var, self.weight, self.bias
        trains = any(x is not None and x.requires_grad for x in values)
        if trains or not features.requires_grad:
            return _by_torch(features, values, eps=self.eps)
        result: Tensor = _ByConstants.apply(  # type: ignore[no-untyped-call]
            features, *values, self.eps
        )
        return result

    def extra_repr(self) -> str:
        """Show the number of channels."""
        return f"{len(self.running_mean)}, eps={self.eps}"


class _ByConstants(torch.autograd.Function):
    """Batch normalisation by constants, which saves no feature maps for its backward.

    The input's gradient is the output's, times a factor per channel. `F.batch_norm` saves its input
    nevertheless, more than a third of the memory of a bottleneck block. There is no forward-mode
    derivative, because `torch.compile` does not support one here.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        features: Tensor,
        mean: Tensor,
        variance: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> Tensor:
        return F.batch_norm(features, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, _, variance, weight, _, ctx.eps = inputs
        ctx.save_for_backward(variance, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        variance, weight = ctx.saved_tensors
        factor = (variance + ctx.eps).rsqrt()
        factor = factor if weight is None else weight * factor
        factor = factor.view(-1, *(1,) * (gradient.dim() - 2))
        # With features in half precision the product is in float32; autograd rounds it.
        return gradient * factor, *5 * (None,)


def _by_torch(features: Tensor, values: _Values, *, eps: float) -> Tensor:
    """Return what `F.batch_norm` does, with the right gradients.

    torch's CPU kernel may take the layouts of the maps and of their gradient for the same although
    they differ, if a dimension of size 1 has an odd stride: in maps of one item, for instance, that
    `flatten(2).transpose(1, 2)` makes tokens of. Sequences have one layout only.
    """
    if features.dim() < 4 or _is_channels_last(features):
        return F.batch_norm(features, *values, eps=eps)
    rows = F.batch_norm(features.flatten(2), *values, eps=eps)
    # A view would make an activation in place cost two more maps in its backward.
    result: Tensor = torch.ops.aten._unsafe_view(rows, features.shape)
    return result


def _is_channels_last(features: Tensor) -> bool:
    """Tell whether torch sees this layout, which includes the strides of dimensions of size 1."""
    least = 0
    for dim in (1, *range(features.dim() - 1, 1, -1), 0):
        if features.stride(dim) < least:
            return False
        least = features.stride(dim) * features.size(dim)
    return True
