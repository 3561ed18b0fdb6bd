"""Encoders that are refused: when they are wrapped, and when they are called."""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sgs.batch_norm import coupled_batch_norm
from sgs.distributed import bare, is_sharded


def check_encoder(encoder: Any) -> nn.Module:
    """Return an encoder that can be wrapped.

    Raises:
        TypeError: If the encoder is no module, or a part of it synchronises gradients by itself.
    """
    if not isinstance(encoder, nn.Module):
        raise TypeError(
            f"SequentialGradientSampler(encoder={type(encoder).__name__}): expected an nn.Module, "
            "since its parameters get the gradients."
        )
    parts = list(bare(encoder).modules())
    if any(isinstance(part, nn.parallel.DistributedDataParallel) for part in parts):
        raise TypeError(
            "SequentialGradientSampler(encoder=...): a part of the encoder is wrapped in "
            "DistributedDataParallel, which would reduce its gradients once per micro-batch. Wrap "
            "the encoder as a whole, or the whole model."
        )
    if any(isinstance(part, nn.DataParallel) for part in (encoder, *parts)):
        raise TypeError(
            "SequentialGradientSampler(encoder=DataParallel): its replicas draw random numbers of "
            "their own, which are not replayed. Use DistributedDataParallel."
        )
    return encoder


def check_call(encoder: nn.Module, *, allow_batch_norm: bool) -> None:
    """Refuse to call an encoder in a state in which its gradients would be wrong.

    Raises:
        ValueError: If there is a lazy module that has not seen its first input, or a BatchNorm
            layer in training mode that is not allowed.
        RuntimeError: If parametrized weights are cached, or its parameters are flattened or sharded
            in a way that is not supported.
    """
    refuse_flat_parameters(encoder)
    refuse_foreign_shards(encoder)
    lazy = [n for n, p in encoder.named_parameters() if nn.parameter.is_lazy(p)]
    if lazy:
        raise ValueError(
            f"SequentialGradientSampler: the parameters {lazy[:3]} have no values yet. Call the "
            "encoder on one item first."
        )
    coupled = coupled_batch_norm(encoder)
    if coupled and not allow_batch_norm:
        raise ValueError(
            f"SequentialGradientSampler: {', '.join(coupled)} normalise(s) by the statistics of "
            "the micro-batch. The output for one item then depends on the others at hand, and "
            "micro-batched gradients differ from the direct ones. Freeze the layers with "
            "encoder = freeze_batch_norm(encoder), as the paper does, or accept statistics per "
            "micro-batch with SequentialGradientSampler(..., allow_batch_norm=True)."
        )
    # The cache would hold weights without a graph from the first pass, for the second one to find.
    if torch.nn.utils.parametrize._cache_enabled:
        raise RuntimeError(
            "SequentialGradientSampler: called inside of torch.nn.utils.parametrize.cached(), where"
            " the second pass would find weights without a graph. Leave the block for the call."
        )


def refuse_flat_parameters(encoder: nn.Module) -> None:
    """Refuse parameters that FullyShardedDataParallel (FSDP1) has flattened.

    While it calls the model they are plain attributes, views of a flat parameter: the encoder looks
    as if it had nothing to train.

    Raises:
        RuntimeError: If it wraps the encoder, a part of it, or a module around it.
    """
    # Whoever uses it has imported it; the library need not.
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None:
        return
    modules = list(encoder.modules())
    values = [value for module in modules for value in vars(module).values()]
    views = [x._base for x in values if isinstance(x, Tensor) and x._base is not None]
    if any(isinstance(module, fsdp.FullyShardedDataParallel) for module in modules) or any(
        getattr(base, "_is_flat_param", False) for base in views
    ):
        raise RuntimeError(
            "SequentialGradientSampler: FullyShardedDataParallel has put views of a flat parameter "
            "in the place of the encoder's parameters, which cannot be replayed. Use FSDP2: "
            "fully_shard(sampler), then fully_shard(model)."
        )


def refuse_foreign_shards(encoder: nn.Module) -> None:
    """Refuse sharded parameters that are not gathered and reduced by the encoder's own modules.

    Raises:
        RuntimeError: If nothing in the encoder gathers them, or a module outside of it is the root.
    """
    if not any(is_sharded(parameter) for parameter in encoder.parameters()):
        return
    fsdp = sys.modules.get("torch.distributed.fsdp")
    shards = fsdp and [m for m in encoder.modules() if isinstance(m, fsdp.FSDPModule)]
    if not shards:
        raise RuntimeError(
            "SequentialGradientSampler: the encoder has parameters of which each process holds a "
            "part, and no module in it gathers them. Call the whole model, not the encoder, if it "
            "is fully_shard(model); tensor parallelism is not supported."
        )
    # FSDP2 ends a backward once per root. If that is outside, it ends once for all micro-batches,
    # and the gradients of all but the first would be dropped without an error.
    if any(
        module._get_fsdp_state()._is_root is False  # type: ignore[operator]
        for module in _topmost(shards)
    ):
        raise RuntimeError(
            "SequentialGradientSampler: modules inside of the encoder are sharded, and so is a "
            "module around it. Either shard the sampler as a whole, fully_shard(sampler), besides "
            "the model, which gathers the encoder once per step; or shard the encoder's parts and "
            "the encoder, and what follows on its own, but not the model that holds both."
        )


def _topmost(modules: Sequence[nn.Module]) -> list[nn.Module]:
    inner = {id(m) for module in modules for m in module.modules() if m is not module}
    return [module for module in modules if id(module) not in inner]
