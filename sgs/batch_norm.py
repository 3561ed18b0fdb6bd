"""Batch normalisation, which couples the items of a micro-batch."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized

from sgs.eval_mode import keep_in_eval_mode
from sgs.frozen_batch_norm import FrozenBatchNorm
from sgs.module_tree import modules_of

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def freeze_batch_norm(encoder: nn.Module, *, freeze_affine: bool = True) -> nn.Module:
    """Let every BatchNorm layer use its running statistics from now on.

    Unlike `.eval()` on the layers, this outlasts the next `model.train()`. torch's own layers are
    replaced. If their scale and shift are frozen too, they save no feature maps: a residual
    network takes a third less memory. Layers that do more, of a derived class (e.g. timm's
    `BatchNormAct2d`) or with hooks, stay what they are and stay in eval mode. The paper freezes all
    batch normalization (section 4.1).

    Args:
        encoder: Changed in place, unless it is itself one of torch's BatchNorm layers.
        freeze_affine: Whether scale and shift are frozen too, as in the paper. The released code
            trains those of the stages that are not frozen.

    Returns:
        The encoder.

    Raises:
        ValueError: If a layer has no running statistics, is parametrized, or is lazy and has no
            values yet.

    Example:
        >>> freeze_batch_norm(nn.Sequential(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8)))[1]
        FrozenBatchNorm(8, eps=1e-05)
    """
    layers = {name: m for name, m in encoder.named_modules() if isinstance(m, _BatchNorm)}
    _refuse(layers)
    for parameter in [p for m in layers.values() for p in (m.weight, m.bias) if p is not None]:
        parameter.requires_grad_(parameter.requires_grad and not freeze_affine)
    plain = {m: FrozenBatchNorm(m) for m in layers.values() if _is_plain(m)}
    for layer in layers.values():
        if layer not in plain:
            keep_in_eval_mode(layer)
    for module in list(encoder.modules()):
        # named_children() would skip the second name of a shared layer.
        for name, child in module._modules.items():
            if child in plain:
                setattr(module, name, plain[child])
    return plain.get(encoder, encoder)  # type: ignore[call-overload, no-any-return]


def _refuse(layers: dict[str, _BatchNorm]) -> None:
    without = [name for name, layer in layers.items() if not _has_statistics(layer)]
    if without:
        raise ValueError(
            f"freeze_batch_norm(encoder): the layers {without} keep no running statistics, so they "
            "cannot be frozen. Create them with track_running_stats=True, or use GroupNorm."
        )
    lazy = [name for name, layer in layers.items() if isinstance(layer, LazyModuleMixin)]
    if lazy:
        raise ValueError(
            f"freeze_batch_norm(encoder): the layers {lazy} have no values yet. Call the encoder "
            "on a few items first."
        )
    parametrized = [name for name, layer in layers.items() if is_parametrized(layer)]
    if parametrized:
        raise ValueError(
            f"freeze_batch_norm(encoder): the layers {parametrized} are parametrized: removing the "
            "parametrization would undo the freeze. Parametrize them afterwards, or put them into "
            "eval mode after every train() instead."
        )


def _is_plain(layer: nn.Module) -> bool:
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks)
    return type(layer) in _PLAIN and not any(hooks)


def coupled_batch_norm(encoder: nn.Module) -> list[str]:
    """Return the names of the layers that normalise by the statistics of their micro-batch."""
    return [
        f"{name!r} ({type(module).__name__})"
        for name, module in modules_of(encoder).items()
        if isinstance(module, _BatchNorm) and (module.training or not _has_statistics(module))
    ]


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module.running_mean, torch.Tensor)


def batch_norm_buffers(encoder: nn.Module) -> list[Tensor]:
    """Return the running statistics that a forward pass updates."""
    modules = modules_of(encoder).values()
    layers = [m for m in modules if isinstance(m, _BatchNorm) and m.training]
    return [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
