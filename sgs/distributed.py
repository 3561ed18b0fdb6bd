"""What several processes ask of the passes: DistributedDataParallel and fully sharded encoders."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def is_distributed() -> bool:
    """Tell whether this process belongs to a group."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def is_sharded(tensor: Tensor) -> bool:
    """Tell whether a tensor is a DTensor, of which each process holds a part."""
    # Whoever has one has imported it; the library need not.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def has_shards(module: nn.Module) -> bool:
    """Tell whether parameters of a module are sharded, be they gathered at the moment or not."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    gathers = fsdp is not None and any(isinstance(m, fsdp.FSDPModule) for m in module.modules())
    return gathers or any(is_sharded(parameter) for parameter in module.parameters())


def bare(encoder: nn.Module) -> nn.Module:
    """Return the encoder without its DistributedDataParallel wrapper, if it has one."""
    return encoder.module if isinstance(encoder, DistributedDataParallel) else encoder


class _Instead(nn.Module):
    """Stands in for the module that DistributedDataParallel calls, and whose buffers it sends."""

    def __init__(self, module: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        for table in ("_parameters", "_buffers", "_modules", "training"):
            vars(self)[table] = vars(module)[table]
        self._function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(args, kwargs)


def call_through(
    encoder: nn.Module,
    function: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call `function` in the place of the encoder, inside of what wraps it.

    It is called with the encoder without that wrapper, and the arguments.

    An encoder that is wrapped in DistributedDataParallel on its own must not be called once per
    micro-batch: each backward would reduce. The wrapper is called once, around both passes, as if
    it were the sampler that is wrapped; so `no_sync`, static graphs, unused parameters and buffer
    broadcasts work as they do there.
    """
    if not isinstance(encoder, DistributedDataParallel):
        return function(encoder, args, kwargs)
    module = encoder.module
    encoder.module = _Instead(module, partial(function, module))
    try:
        return encoder(*args, **kwargs)
    finally:
        encoder.module = module


def refuse_explicit_backward(encoder: nn.Module) -> None:
    """Refuse a DistributedDataParallel that looks for a graph in what it returns.

    Features that are leaves have none, so it would take all parameters for unused.

    Raises:
        ValueError: If the encoder is wrapped with such an option.
    """
    if isinstance(encoder, DistributedDataParallel) and (
        encoder.static_graph or encoder.find_unused_parameters
    ):
        raise ValueError(
            "SequentialGradientSampler.encode: the encoder is wrapped in DistributedDataParallel "
            "with static_graph=True or find_unused_parameters=True, which cannot follow an explicit"
            " backward. Switch these options off, or call the sampler itself."
        )


def missing_calls(parameters: Sequence[Tensor], count: int) -> int:
    """Return how many more calls than `count` another process makes.

    Every call of a sharded encoder gathers its parameters from all processes, and every backward
    reduces, so all must make the same number. Zero if nothing is sharded.
    """
    sharded = [parameter for parameter in parameters if is_sharded(parameter)]
    if not sharded:
        return 0
    mesh = sharded[0].device_mesh  # type: ignore[attr-defined]
    largest = torch.tensor(count, device=mesh.device_type)
    for dim in range(mesh.ndim):
        torch.distributed.all_reduce(
            largest, torch.distributed.ReduceOp.MAX, group=mesh.get_group(dim)
        )
    return int(largest) - count


def fewest_calls(parameters: Sequence[Tensor], count: int) -> int:
    """Return the smallest `count` of all processes; `count` itself if nothing is sharded."""
    return count - missing_calls(parameters, -count)
