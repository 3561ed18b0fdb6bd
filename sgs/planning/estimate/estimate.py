"""`estimate`: the memory and operations of a training step, without a GPU or the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)
from torch.utils import _pytree as pytree

from sgs.distributed import bare, refuse_shards
from sgs.items.features import is_differentiable
from sgs.planning.estimate.fake_arguments import fake_arguments
from sgs.planning.estimate.live_bytes import IGNORED
from sgs.planning.estimate.optimizer import MakeOptimizer, optimizer_of
from sgs.planning.estimate.peak_of_step import peak_of_step
from sgs.planning.estimate.result import Estimate
from sgs.planning.estimate.step_counter import CATEGORIES, ITEMS, PARAMETERS, StepCounter
from sgs.planning.estimate.training_methods import METHODS, TrainingMethods
from sgs.planning.estimate.watched_modules import WatchedEncoder
from sgs.replay.random_numbers import RandomState, random_sources
from sgs.replay.snapshot import Snapshot
from sgs.sampler import SequentialGradientSampler

CUDA_BLOCK = 512


def estimate(
    sampler: SequentialGradientSampler,
    items: Any,
    *,
    method: str = "sgs",
    head: Callable[[Any], Tensor] | None = None,
    optimizer: MakeOptimizer | None = None,
    items_on_device: bool = True,
    autocast: torch.dtype | None = None,
) -> Estimate:
    """Count the memory and the operations of a training step, without running it.

    A whole step of an ordinary loop runs on fake tensors, which have a shape and no values: forward
    pass, head and loss, backward and `optimizer.step()`, with the optimizer's state of the step
    before. No memory is allocated, and neither the encoder nor any random state changes. The
    encoder runs on two micro-batches of each size; each further one takes some milliseconds.

    The peak is that of the tensors, in blocks as the allocator of CUDA returns them. Not counted
    are the CUDA context, workspaces of cuDNN and cuBLAS, the fragmentation of the allocator,
    tensors in host memory, and GPU kernels that differ from those of the CPU.

    Args:
        sampler: The sampler to train with; its encoder may be on the meta device, where it takes
            no memory either.
        items: The argument of the sampler's call: a tensor, on the meta device if it should take
            no memory, or a source, of which one item is fetched. A tuple for several arguments, or
            a dict for keyword arguments.
        method: "sgs" for the sampler; "naive" for one call of its encoder in one graph;
            "checkpointed" for a graph of micro-batches of `micro_batch_size`, each in a
            `torch.utils.checkpoint`. The last two train all items, whatever the ratio.
        head: Maps features to the loss; if it is a module, its parameters train too. The mean
            square of the features if None.
        optimizer: Makes an optimizer from a list of parameters, e.g. `torch.optim.AdamW`. No
            optimizer's step if None.
        items_on_device: Whether tensors of items lie on the device. If False, they stay in host
            memory and each micro-batch is copied, as from a source.
        autocast: The precision of `torch.autocast`; that of the tensors if None.

    Returns:
        The peak by category, and the operations by part; print it for a table.

    Raises:
        TypeError: If `sampler` is no `SequentialGradientSampler`, its parameters are sharded, the
            encoder or the head cannot be copied, or `optimizer` makes no optimizer.
        ValueError: If `method` is unknown, the loss is no single number, or the sampler's call
            raises it.
        RuntimeError: If the encoder or the head computes shapes from values, or the sampler's call
            raises it.

    Example:
        >>> with torch.device("meta"):
        ...     encoder, items = nn.Linear(10**5, 100), torch.empty(10**4, 10**5)
        >>> sampler = SequentialGradientSampler(encoder, micro_batch_size=500)
        >>> needed = estimate(sampler, items, items_on_device=False)
        >>> needed.fits("1GiB"), estimate(sampler, items, method="naive").fits("1GiB")
        (True, False)
    """
    _validate(sampler, method)
    counter = StepCounter(block=CUDA_BLOCK)
    # In one copy, so that parameters shared between them stay shared.
    encoder, stem = _copied(counter, (bare(sampler.encoder), sampler.frozen_stem), "encoder")
    loss_of = _mean_square if head is None else _copied(counter, head, "head")
    arguments = fake_arguments(items, counter.dry_run, items_on_device=items_on_device)
    counter.memory.assign(arguments.host, IGNORED)
    counter.memory.assign([x for x in arguments.tensors if not arguments.is_on_host(x)], ITEMS)
    trained = _count_parameters(counter, (encoder, stem, loss_of))
    methods = TrainingMethods(sampler, WatchedEncoder(encoder, counter), stem, counter)
    with _states_restored(encoder), _fake_errors_explained():
        peak = peak_of_step(
            counter,
            lambda: methods.features(method, arguments),
            loss_of,
            autocast=autocast,
            optimizer=optimizer_of(optimizer, trained),
        )
    categories = {name: peak[name] for name in CATEGORIES}
    return Estimate(method, methods.num_items(arguments), categories, counter.flops_by_part())


def _validate(sampler: Any, method: str) -> None:
    if not isinstance(sampler, SequentialGradientSampler):
        raise TypeError(
            f"estimate(sampler={type(sampler).__name__}): expected a SequentialGradientSampler, "
            "which has the options to estimate with."
        )
    if method not in METHODS:
        raise ValueError(f"estimate(method={method!r}): expected one of {METHODS}.")
    refuse_shards(sampler)


def _copied(counter: StepCounter, value: Any, name: str) -> Any:
    try:
        return counter.dry_run.copy(value)
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"estimate: the {name} cannot be copied by copy.deepcopy ({error}). An estimate runs a "
            "copy. Remove attributes other than modules and tensors, or build it anew."
        ) from error


def _count_parameters(counter: StepCounter, parts: tuple[Any, ...]) -> list[Tensor]:
    """Count parameters and buffers, and return the parameters that train."""
    modules = [part for part in parts if isinstance(part, nn.Module)]
    parameters = list({id(p): p for part in modules for p in part.parameters()}.values())
    buffers = [buffer for part in modules for buffer in part.buffers()]
    counter.memory.assign([*parameters, *buffers], PARAMETERS)
    counter.watch_parameters(parameters)
    return [parameter for parameter in parameters if parameter.requires_grad]


@contextmanager
def _states_restored(encoder: nn.Module) -> Iterator[None]:
    """Leave the caller's autocast and gradient modes inside, and restore random states after."""
    held = Snapshot(dict(encoder.named_modules())).others.values()
    sources = random_sources(held, [torch.device("cpu")])
    with (
        RandomState.capture(sources).restored(),
        _outside_autocast(),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        yield


@contextmanager
def _outside_autocast() -> Iterator[None]:
    # Only the end of the outermost `torch.autocast` frees its copies of the weights, so the
    # caller's nesting must not count inside.
    with torch.autocast("cpu", enabled=False):
        depth = 1
        while torch.autocast_decrement_nesting() > 0:
            depth += 1
        try:
            yield
        finally:
            for _ in range(depth):
                torch.autocast_increment_nesting()


@contextmanager
def _fake_errors_explained() -> Iterator[None]:
    try:
        yield
    except _NEED_VALUES as error:
        raise RuntimeError(
            f"estimate: the encoder or the head computes a shape from the values of a tensor, or "
            f"uses an operation without a rule for fake tensors ({error}). An estimate has shapes "
            "and no values. Leave that part out, e.g. with a simpler head."
        ) from error


_NEED_VALUES = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)


def _mean_square(features: Any) -> Tensor:
    leaves = [x for x in pytree.tree_leaves(features) if isinstance(x, Tensor)]
    return torch.stack([x.square().mean() for x in leaves if is_differentiable(x)]).sum()
