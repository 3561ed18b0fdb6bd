"""Checks of the encoder: in the constructor, and in each call."""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sgs.batch_norm import coupled_batch_norm
from sgs.distributed import any_sharded, bare
from sgs.module_tree import modules_of, parameters_of


def check_encoder(encoder: Any) -> nn.Module:
    """Return an encoder that can be trained in micro-batches.

    Raises:
        TypeError: If it is not a module, uses DataParallel, or has a part that is wrapped in
            DistributedDataParallel.
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
            "SequentialGradientSampler(encoder=DataParallel): its replicas draw their own random "
            "numbers, which cannot be replayed. Use DistributedDataParallel."
        )
    return encoder


def check_call(encoder: nn.Module, *, allow_batch_norm: bool) -> None:
    """Refuse an encoder whose gradients would be wrong in its present state.

    Raises:
        ValueError: If a lazy module has no values yet, or a BatchNorm layer is in training mode and
            that is not allowed.
        RuntimeError: If parametrized weights are cached, or parameters are flattened, or sharded in
            an unsupported way.
    """
    refuse_flat_parameters(encoder)
    refuse_foreign_shards(encoder)
    modules = modules_of(encoder)
    if any(map(nn.parameter.is_lazy, parameters_of(modules.values()))):
        lazy = [n for n, p in encoder.named_parameters() if nn.parameter.is_lazy(p)]
        raise ValueError(
            f"SequentialGradientSampler: the parameters {lazy[:3]} have no values yet. Call the "
            "encoder on one item first."
        )
    coupled = coupled_batch_norm(encoder)
    if coupled and not allow_batch_norm:
        raise ValueError(
            f"SequentialGradientSampler: {', '.join(coupled)} normalise(s) by the statistics of "
            "the micro-batch. The output for one item then depends on the others in it, and "
            "micro-batched gradients differ from the direct ones. Freeze the layers with "
            "encoder = freeze_batch_norm(encoder), as the paper does, or accept statistics per "
            "micro-batch with SequentialGradientSampler(..., allow_batch_norm=True)."
        )
    # The second pass would reuse weights that the first one cached without a graph.
    if torch.nn.utils.parametrize._cache_enabled:
        raise RuntimeError(
            "SequentialGradientSampler: called inside of torch.nn.utils.parametrize.cached(): the "
            "second pass would reuse weights cached without a graph. Call it outside of the block."
        )


def refuse_flat_parameters(encoder: nn.Module) -> None:
    """Refuse parameters flattened by FullyShardedDataParallel (FSDP1).

    During its call the parameters are plain attributes, views of a flat parameter, and the encoder
    seems to have no parameters.

    Raises:
        RuntimeError: If it wraps the encoder, a part of it, or a module around it.
    """
    # FSDP is in use only if it was imported. Importing it here would cost time.
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None:
        return
    modules = modules_of(encoder).values()
    plain = [x for module in modules for x in vars(module).values() if type(x) is Tensor]
    views = [x._base for x in plain if x._base is not None]
    if any(isinstance(module, fsdp.FullyShardedDataParallel) for module in modules) or any(
        getattr(base, "_is_flat_param", False) for base in views
    ):
        raise RuntimeError(
            "SequentialGradientSampler: FullyShardedDataParallel replaced the encoder's parameters "
            "by views of a flat parameter, which cannot be replayed. Use FSDP2: "
            "fully_shard(sampler), then fully_shard(model)."
        )


def refuse_foreign_shards(encoder: nn.Module) -> None:
    """Refuse sharded parameters that the encoder's own modules do not gather and reduce.

    Raises:
        RuntimeError: If no module in the encoder gathers them, or the FSDP2 root is outside of it.
    """
    if not any_sharded(parameters_of(modules_of(encoder).values())):
        return
    fsdp = sys.modules.get("torch.distributed.fsdp")
    shards = fsdp and [m for m in encoder.modules() if isinstance(m, fsdp.FSDPModule)]
    if not shards:
        raise RuntimeError(
            "SequentialGradientSampler: the encoder has sharded parameters, and no module in it "
            "gathers them. After fully_shard(model), call the whole model instead of the encoder. "
            "Tensor parallelism is not supported."
        )
    # FSDP2 finishes a backward once per root. If the root is outside of the encoder, that is once
    # for all micro-batches, and the gradients of all but the first are dropped without an error.
    if any(
        module._get_fsdp_state()._is_root is False  # type: ignore[operator]
        for module in _topmost(shards)
    ):
        raise RuntimeError(
            "SequentialGradientSampler: modules inside of the encoder are sharded, and so is a "
            "module around it. Either call fully_shard(sampler), then fully_shard(model), which "
            "gathers the encoder once per step. Or shard the encoder and its parts, and the layers "
            "after it separately, but not the model around both."
        )


def _topmost(modules: Sequence[nn.Module]) -> list[nn.Module]:
    inner = {id(m) for module in modules for m in module.modules() if m is not module}
    return [module for module in modules if id(module) not in inner]
