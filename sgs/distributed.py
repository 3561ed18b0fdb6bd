"""Training with several processes: DistributedDataParallel and fully sharded encoders."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def is_distributed() -> bool:
    """Tell whether this process belongs to a group."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def is_sharded(tensor: Tensor) -> bool:
    """Tell whether a tensor is a DTensor, divided among the processes."""
    return any_sharded([tensor])


def any_sharded(tensors: Iterable[Tensor]) -> bool:
    """Tell whether one of some tensors is a DTensor, divided among the processes."""
    # A DTensor exists only if its module was imported. Importing it here would cost time.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and any(isinstance(x, module.DTensor) for x in tensors)


def refuse_shards(sampler: nn.Module) -> None:
    """Refuse to estimate the memory of sharded parameters, which are gathered during a step.

    Raises:
        TypeError: If there are any.
    """
    # Gathered at the moment or not.
    fsdp = sys.modules.get("torch.distributed.fsdp")
    gathers = fsdp is not None and any(isinstance(m, fsdp.FSDPModule) for m in sampler.modules())
    if gathers or any_sharded(sampler.parameters()):
        raise TypeError(
            "estimate, plan: the encoder's parameters are sharded, and how much of them a "
            "process holds changes during a step. Estimate or plan before fully_shard(), and pass "
            "sizes instead of a MemoryBudget."
        )


def bare(encoder: nn.Module) -> nn.Module:
    """Return the encoder without its DistributedDataParallel wrapper, if it has one."""
    return encoder.module if isinstance(encoder, DistributedDataParallel) else encoder


class _StandIn(nn.Module):
    """Calls a function in place of a module, and shares the module's parameters and buffers."""

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
    """Return `function(encoder, args, kwargs)`, called inside the encoder's wrapper if it has one.

    The function gets the encoder without its DistributedDataParallel wrapper. If the wrapper were
    called once per micro-batch, it would reduce in each backward. It is called once, around both
    passes, as if it wrapped the sampler. So `no_sync`, static graphs, unused parameters and buffer
    broadcasts work as usual.
    """
    if not isinstance(encoder, DistributedDataParallel):
        return function(encoder, args, kwargs)
    module = encoder.module
    encoder.module = _StandIn(module, partial(function, module))
    try:
        return encoder(*args, **kwargs)
    finally:
        encoder.module = module


def refuse_explicit_backward(encoder: nn.Module) -> None:
    """Refuse options of DistributedDataParallel that need the graph of the returned features.

    The features of `encode` are leaves, so all parameters would be taken for unused.

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
    """Return the largest `count` of all processes, minus this one's; 0 if nothing is sharded.

    Each call of a sharded encoder gathers parameters from all processes, and each backward reduces,
    so all processes must make the same number of calls.
    """
    if not any_sharded(parameters):
        return 0
    mesh = next(filter(is_sharded, parameters)).device_mesh  # type: ignore[attr-defined]
    largest = torch.tensor(count, device=mesh.device_type)
    for dim in range(mesh.ndim):
        torch.distributed.all_reduce(
            largest, torch.distributed.ReduceOp.MAX, group=mesh.get_group(dim)
        )
    return int(largest) - count


def fewest_calls(parameters: Sequence[Tensor], count: int) -> int:
    """Return the smallest `count` of all processes; `count` itself if nothing is sharded."""
    return count - missing_calls(parameters, -count)
