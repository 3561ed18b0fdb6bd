"""`estimate`: what a training step will take, without a GPU and without the memory."""

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

from sgs.distributed import bare, has_shards
from sgs.items.features import is_differentiable
from sgs.planning.estimate.fake_arguments import fake_arguments
from sgs.planning.estimate.live_bytes import IGNORED
from sgs.planning.estimate.methods import Method, WatchedEncoder
from sgs.planning.estimate.rehearsal import CATEGORIES, ITEMS, PARAMETERS, Rehearsal
from sgs.planning.estimate.result import Estimate
from sgs.planning.estimate.training_step import MakeOptimizer, optimizer_of, peak_of_step
from sgs.replay.random_numbers import RandomState, random_sources
from sgs.sampler import SequentialGradientSampler

METHODS = ("sgs", "naive", "checkpointed")
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
    pass, head and loss, backward, `optimizer.step()`, and the next one with the optimizer's state,
    gradients set to None in between. No memory is allocated, and neither the encoder nor any random
    state changes. Micro-batches of one size are alike, so the encoder runs on two of each size; the
    others take some milliseconds each.

    The peak is that of the tensors, in blocks as the allocator of CUDA hands them out. Not seen are
    the CUDA context, workspaces of cuDNN and cuBLAS, the fragmentation of the allocator, tensors
    in host memory, and kernels that a GPU would choose otherwise than a CPU.

    Args:
        sampler: The sampler to train with; its encoder may be on the meta device, where it takes
            no memory either.
        items: What the sampler is called with: a tensor, on the meta device if it should take no
            memory, or a source, of which one item is fetched; a tuple of arguments, or a dict of
            keyword arguments, as the encoder has them.
        method: "sgs" for the sampler; "naive" for one call of its encoder in one graph;
            "checkpointed" for a graph of micro-batches of `micro_batch_size`, each in a
            `torch.utils.checkpoint`. The last two train all items, whatever the ratio.
        head: Maps features to the loss; the parameters of a module train along. The mean square of
            the features if None.
        optimizer: Makes an optimizer of a list of parameters, e.g. `torch.optim.AdamW`. No
            optimizer's step if None.
        items_on_device: Whether tensors of items lie on the device. If False, they stay in host
            memory and what the encoder is called with is copied, as from a source.
        autocast: The precision of `torch.autocast`; that of the tensors if None.

    Returns:
        The peak by category, and the operations by part; print it for a table.

    Raises:
        TypeError: If `sampler` is no `SequentialGradientSampler`, its parameters are sharded, or
            the encoder or the head cannot be copied.
        ValueError: If `method` is unknown, the loss is no single number, or as a call.
        RuntimeError: If the encoder or the head computes shapes from values, or as a call.

    Example:
        >>> with torch.device("meta"):
        ...     encoder, items = nn.Linear(10**5, 100), torch.empty(10**4, 10**5)
        >>> sampler = SequentialGradientSampler(encoder, micro_batch_size=100)
        >>> needed = estimate(sampler, items, items_on_device=False)
        >>> needed.fits("1GiB"), estimate(sampler, items, method="naive").fits("1GiB")
        (True, False)
    """
    _validate(sampler, method)
    rehearsal = Rehearsal(block=CUDA_BLOCK)
    # At once, so that what they share stays shared.
    modules = bare(sampler.encoder), sampler.frozen_stem
    encoder, stem = _copied(rehearsal, modules, "encoder")
    loss_of = _mean_square if head is None else _copied(rehearsal, head, "head")
    arguments = fake_arguments(items, rehearsal.dry_run, items_on_device=items_on_device)
    rehearsal.memory.assign(arguments.host, IGNORED)
    rehearsal.memory.assign([x for x in arguments.tensors if not arguments.is_on_host(x)], ITEMS)
    trained = _register(rehearsal, (encoder, stem, loss_of))
    watched = WatchedEncoder(encoder, rehearsal)
    run = Method(sampler, watched, stem, rehearsal)
    with _no_trace(encoder), _explained():
        peak = peak_of_step(
            rehearsal,
            lambda: run.features(method, arguments),
            loss_of,
            autocast=autocast,
            optimizer=optimizer_of(optimizer, trained),
        )
    found = {name: peak[name] for name in CATEGORIES}
    return Estimate(method, run.num_items(arguments), found, rehearsal.flops_by_part())


def _validate(sampler: Any, method: str) -> None:
    if not isinstance(sampler, SequentialGradientSampler):
        raise TypeError(
            f"estimate(sampler={type(sampler).__name__}): expected a SequentialGradientSampler, "
            "whose options are those of the estimate."
        )
    if method not in METHODS:
        raise ValueError(f"estimate(method={method!r}): expected one of {METHODS}.")
    if has_shards(sampler):
        raise TypeError(
            "estimate(sampler=...): the encoder's parameters are sharded, and what a process holds "
            "of them changes in a step. Estimate before fully_shard()."
        )


def _copied(rehearsal: Rehearsal, value: Any, name: str) -> Any:
    try:
        return rehearsal.dry_run.copy(value)
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"estimate: the {name} cannot be copied by copy.deepcopy ({error}), which keeps yours "
            "as it is. Remove what it holds besides modules and tensors, or build it anew."
        ) from error


def _register(rehearsal: Rehearsal, parts: tuple[Any, ...]) -> list[Tensor]:
    """Count what is there before the step, and return the parameters that train."""
    modules = [part for part in parts if isinstance(part, nn.Module)]
    parameters = list({id(p): p for part in modules for p in part.parameters()}.values())
    buffers = [buffer for part in modules for buffer in part.buffers()]
    rehearsal.memory.assign([*parameters, *buffers], PARAMETERS)
    rehearsal.watch_parameters(parameters)
    return [parameter for parameter in parameters if parameter.requires_grad]


@contextmanager
def _no_trace(encoder: nn.Module) -> Iterator[None]:
    """Put all random states back, and let the caller's modes not matter."""
    sources = random_sources(encoder, [torch.device("cpu")])
    with (
        RandomState.capture(sources).restored(),
        _outside_autocast(),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        yield


@contextmanager
def _outside_autocast() -> Iterator[None]:
    # Weights in half precision are freed where the outermost `torch.autocast` ends.
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
def _explained() -> Iterator[None]:
    try:
        yield
    except _NEED_VALUES as error:
        raise RuntimeError(
            f"estimate: the encoder or the head computes a shape from the values of a tensor, or "
            f"uses an operation that is only known to run on values ({error}). Estimates have no "
            "values. Leave that part out, e.g. with a simpler head."
        ) from error


_NEED_VALUES = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)


def _mean_square(features: Any) -> Tensor:
    leaves = [x for x in pytree.tree_leaves(features) if isinstance(x, Tensor)]
    return torch.stack([x.square().mean() for x in leaves if is_differentiable(x)]).sum()
