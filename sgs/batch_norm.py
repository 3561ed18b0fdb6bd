"""Batch normalisation, which couples the items of a micro-batch."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


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
            return F.batch_norm(features, *values, eps=self.eps)
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


def freeze_batch_norm(encoder: nn.Module, *, freeze_affine: bool = True) -> nn.Module:
    """Replace every BatchNorm layer permanently by one that uses its running statistics.

    Unlike `.eval()` on the layers, this outlasts the next `model.train()`. If scale and shift are
    frozen too, no feature maps are saved for these layers: a residual network takes a third less
    memory. The paper freezes all batch normalization (section 4.1).

    Args:
        encoder: Changed in place, unless it is itself a BatchNorm layer.
        freeze_affine: Whether scale and shift are frozen too, as in the paper. The released code
            trains those of the stages that are not frozen.

    Returns:
        The encoder.

    Raises:
        ValueError: If a layer has no running statistics, is of a derived class, is parametrized,
            or has hooks. Put such layers into eval mode instead, after every `train()`.

    Example:
        >>> freeze_batch_norm(nn.Sequential(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8)))[1]
        FrozenBatchNorm(8, eps=1e-05)
    """
    layers = {name: m for name, m in encoder.named_modules() if isinstance(m, _BatchNorm)}
    without = [name for name, layer in layers.items() if not _has_statistics(layer)]
    if without:
        raise ValueError(
            f"freeze_batch_norm(encoder): the layers {without} keep no running statistics, so they "
            "cannot be frozen. Create them with track_running_stats=True, or use GroupNorm."
        )
    special = [name for name, layer in layers.items() if not _is_plain(layer)]
    if special:
        raise ValueError(
            f"freeze_batch_norm(encoder): the layers {special} do more than batch normalization "
            "(derived class, parametrization or hooks), which a replacement would lose. Put them "
            "into eval mode after every train() instead."
        )
    frozen = {layer: FrozenBatchNorm(layer) for layer in layers.values()}
    for parameter in [p for layer in frozen.values() for p in layer.parameters()]:
        parameter.requires_grad_(parameter.requires_grad and not freeze_affine)
    for module in list(encoder.modules()):
        # named_children() would skip the second name of a shared layer.
        for name, child in module._modules.items():
            if isinstance(child, _BatchNorm):
                setattr(module, name, frozen[child])
    return frozen.get(encoder, encoder)  # type: ignore[call-overload, no-any-return]


def _is_plain(layer: nn.Module) -> bool:
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks)
    return type(layer) in _PLAIN and not any(hooks)


def coupled_batch_norm(encoder: nn.Module) -> list[str]:
    """Return the names of the layers that normalise by the statistics of their micro-batch."""
    return [
        f"{name!r} ({type(module).__name__})"
        for name, module in encoder.named_modules()
        if isinstance(module, _BatchNorm) and (module.training or not _has_statistics(module))
    ]


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module.running_mean, torch.Tensor)


def batch_norm_buffers(encoder: nn.Module) -> list[Tensor]:
    """Return the running statistics that a forward pass updates."""
    layers = [m for m in encoder.modules() if isinstance(m, _BatchNorm) and m.training]
    return [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
