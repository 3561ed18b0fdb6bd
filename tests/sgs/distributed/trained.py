"""Trainers in several processes: the weights, the reductions, and what is refused."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, distributed as dist, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel

from sgs import SequentialGradientSampler
from tests.reference import coupling_loss
from tests.sgs.trainers.loops import (
    LEARNING_RATE,
    SIZE,
    InMicroBatches,
    Model,
    Wrap,
    batches_of,
    by_hand,
    largest_error,
    sequential,
    update,
    with_accelerate,
    with_lightning,
)

Batches = list[Tensor]
# Small enough for several buckets.
BUCKET_MB = 1e-4
PLACES = ("model", "encoder", "sampler")
GRAPHS = ("static graph", "dynamic graph")


def sequential_by_five(encoder: nn.Module) -> nn.Module:
    return SequentialGradientSampler(encoder, micro_batch_size=5)


def with_zero(model: Model, batches: Batches) -> None:
    """Train with an optimizer whose state is spread over the processes."""
    # Warns when it is imported, and pytest imports this module.
    from torch.distributed.optim import ZeroRedundancyOptimizer

    wrapped = DistributedDataParallel(model)
    model.configure_optimizers = lambda: ZeroRedundancyOptimizer(
        wrapped.parameters(), torch.optim.SGD, lr=LEARNING_RATE
    )
    by_hand(model, batches, call=wrapped, rank=dist.get_rank())


def with_lightning_fsdp2(model: Model, batches: Batches) -> None:
    strategy = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    # The weights are in double precision already.
    with_lightning(model, batches, precision="32-true", strategy=strategy, devices=2)


def with_lightning_ddp(model: Model, batches: Batches, precision: str) -> None:
    with_lightning(model, batches, precision=precision, strategy="ddp", devices=2)


PLAIN: dict[str, Callable[[Model, Batches], None]] = {
    "Accelerate": lambda model, batches: with_accelerate(model, batches, mixed_precision="no"),
    "Lightning, DDP": lambda model, batches: with_lightning_ddp(model, batches, "64-true"),
    "Lightning, FSDP2": with_lightning_fsdp2,
    "ZeroRedundancyOptimizer": with_zero,
}
HALF: dict[str, Callable[[Model, Batches], None]] = {
    "Accelerate, bf16": lambda model, batches: with_accelerate(
        model, batches, mixed_precision="bf16"
    ),
    "Lightning, DDP, bf16": lambda model, batches: with_lightning_ddp(model, batches, "bf16-mixed"),
}


def weights_error(
    train: Callable[[Model, Batches], None], *, half: bool = False, wrap: Wrap = sequential
) -> float:
    """Compare with naive graphs, whose gradients are averaged over the processes."""
    dtype, autocast = (torch.float32, torch.bfloat16) if half else (torch.float64, None)
    rank = dist.get_rank()
    batches = batches_of(rank, dtype=dtype)

    def train_naively(model: Model) -> None:
        by_hand(model, batches, autocast=autocast, rank=rank)

    expected = update(InMicroBatches, train_naively, dtype=dtype)
    return largest_error(update(wrap, lambda m: train(m, batches), dtype=dtype), expected)


class Reductions:
    """Counts the buckets that a DistributedDataParallel reduces."""

    def __init__(self, wrapper: DistributedDataParallel) -> None:
        self._indices: list[int] = []
        wrapper.register_comm_hook(None, self._reduce)

    def _reduce(self, state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        self._indices.append(bucket.index())
        return allreduce_hook(state, bucket)

    def take(self) -> list[int]:
        """Return the indices of the buckets reduced since the last call."""
        taken, self._indices = self._indices, []
        return taken


def counted(where: str, *, static: bool) -> dict[str, list[int]]:
    """Count the reductions of steps, the second of which accumulates without one first."""
    wrap: dict[str, Any] = {"bucket_cap_mb": BUCKET_MB, "static_graph": static}
    model: nn.Module = Model(lambda encoder: encoder).double()
    if where == "encoder":
        wrapper = DistributedDataParallel(model.encoder, **wrap)
        model.encoder = sequential(wrapper)
    elif where == "sampler":
        wrapper = model.encoder = DistributedDataParallel(sequential(model.encoder), **wrap)
    else:
        model.encoder = sequential(model.encoder)
        wrapper = model = DistributedDataParallel(model, **wrap)
    reductions, found = Reductions(wrapper), {}
    for step, items in enumerate(batches_of(dist.get_rank(), dtype=torch.float64)[:3]):
        if step == 1:
            with wrapper.no_sync():
                coupling_loss(model(items)).backward()
            found["no_sync"] = reductions.take()
        coupling_loss(model(items)).backward()
        found[f"step {step}"] = reductions.take()
    return found


def counted_by_hand() -> dict[str, list[int]]:
    """Count the reductions if the wrapped encoder is called for each micro-batch: too many."""
    encoder = DistributedDataParallel(nn.Linear(6, 4).double())
    reductions = Reductions(encoder)
    for part in batches_of(0, dtype=torch.float64)[0].split(SIZE):
        encoder(part).square().sum().backward()
    return {"step 0": reductions.take()}


def fsdp1(where: str, *, use_orig_params: bool) -> str:
    """Wrap a model in the predecessor of FSDP2."""

    def shard(module: nn.Module) -> nn.Module:
        return FullyShardedDataParallel(
            module, use_orig_params=use_orig_params, device_id=torch.device("cpu")
        )

    model = Model(lambda encoder: sequential(shard(encoder) if where == "encoder" else encoder))
    if where == "sampler":
        model.encoder = shard(model.encoder)
    try:
        shard(model)(torch.randn(10, 6)).sum().backward()
    except (RuntimeError, KeyError) as error:
        return str(error)
    return "accepted"


CASES: dict[str, Callable[[], Any]] = {
    **{name: partial(weights_error, train) for name, train in PLAIN.items()},
    **{name: partial(weights_error, train, half=True) for name, train in HALF.items()},
    **{
        f"{name}, other micro-batches": partial(weights_error, train, wrap=sequential_by_five)
        for name, train in PLAIN.items()
    },
    **{
        f"reductions, DDP of the {where}, {graph}": partial(
            counted, where, static=graph == "static graph"
        )
        for where in PLACES
        for graph in GRAPHS
    },
    "reductions, by hand": counted_by_hand,
    **{
        f"FSDP1 of the {where}, {flag}": partial(fsdp1, where, use_orig_params=flag)
        for where in PLACES
        for flag in (False, True)
    },
}


def outcome_of(case: str) -> Any:
    return CASES[case]()
