"""`equivalence_report`: a comparison of sequentialized gradient sampling with the naive graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sgs.distributed import bare, is_distributed, is_sharded
from sgs.equivalence.comparison import EquivalenceReport, Outcome, compare
from sgs.equivalence.no_trace import FEATURES, Trial, named_leaves, trial
from sgs.gradients.graph import back_propagate
from sgs.items.features import is_differentiable
from sgs.micro_batches import consecutive
from sgs.sampler import SequentialGradientSampler

Cotangents = Mapping[str, Tensor]


def equivalence_report(
    encoder: SequentialGradientSampler, /, *args: Any, **kwargs: Any
) -> EquivalenceReport:
    """Compare sequentialized gradient sampling with the naive graph, for your encoder and items.

    Both run forward and backward, from the same random gradients of the features. All features and
    gradients are compared. The ratio is 1 on both sides, since the gradients of a subset are not
    meant to be exact. The other options are those of `encoder`.

    The reference is one call on all items. With random numbers (dropout), one call differs from
    micro-batches in any case. The reference then runs the sampler's micro-batches from the same
    random state, and cannot show whether items interact; run a second report in evaluation mode for
    that. Both sides run under the caller's autocast. Use float64 to tell differences from rounding.

    Parameters, their `.grad`, buffers, module modes, plain attributes and random states are not
    changed. Hooks on parameters are not called, so an optimizer that steps in the backward does
    not, and gradients are compared before such hooks. Hooks on modules are called. Nothing is
    reduced over processes. The report takes the memory of the naive graph and of three copies of
    the parameters.

    Args:
        encoder: The sampler to train with. A DistributedDataParallel wrapper of the encoder inside
            it is left out.
        *args: The arguments of its call, with more items than one micro-batch, but few enough for
            one graph of all of them. Only those that require a gradient are compared.
        **kwargs: The keyword arguments of its call.

    Returns:
        The relative error of each feature and gradient; print it for a verdict and a table.

    Raises:
        TypeError: If `encoder` is not a `SequentialGradientSampler`, or as in its call.
        ValueError: If all items fit into one micro-batch, the encoder's parameters are sharded, or
            as in its call.
        RuntimeError: If the call or its backward refuses the encoder.

    Example:
        >>> from sgs import SequentialGradientSampler, equivalence_report
        >>> encoder = torch.nn.Linear(3, 4).double()
        >>> sampler = SequentialGradientSampler(encoder, micro_batch_size=2, ratio=0.3)
        >>> report = equivalence_report(sampler, torch.randn(5, 3).double())
        >>> report.is_exact, report.reference, [row.name for row in report.rows]
        (True, 'one call', ['features', 'weight', 'bias'])
    """
    _validate(encoder, args, kwargs)
    sampler = _of_all_items(encoder)
    start = partial(trial, sampler, args, kwargs)
    # The caller may be in no_grad or inference mode.
    with torch.inference_mode(False), torch.enable_grad():
        with start() as run:
            ours, cotangents = _sampled(sampler, run)
        with start() as run:
            theirs, reference = _one_call(run, cotangents), "one call"
        if theirs is None:
            with start() as run:
                theirs = _micro_batches(run, cotangents, size=sampler.sizes.micro_batch_size)
            reference = "the same micro-batches"
    return compare(
        _without_fill(ours, theirs), theirs, reference=reference, dtypes=run.circumstances.dtypes
    )


def _validate(encoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if not isinstance(encoder, SequentialGradientSampler):
        raise TypeError(
            f"equivalence_report(encoder={type(encoder).__name__}): expected a "
            "SequentialGradientSampler, whose options are used in the report. Wrap the encoder "
            "first: SequentialGradientSampler(encoder, micro_batch_size=...)."
        )
    sharded = [n for n, p in encoder.encoder.named_parameters() if is_sharded(p)]
    if sharded:
        raise ValueError(
            f"equivalence_report: the parameters {sharded[:3]} are sharded, and the naive graph's "
            "backward would reduce their gradients. Run the report before fully_shard(...)."
        )
    num_items = encoder.items_of(bare(encoder.encoder), args, kwargs).num_items
    size = encoder.sizes.micro_batch_size
    if num_items <= size:
        raise ValueError(
            f"equivalence_report: got {num_items} item(s) and micro_batch_size={size}, expected "
            "more items than that. With a single micro-batch there is nothing to compare."
        )


def _of_all_items(encoder: SequentialGradientSampler) -> SequentialGradientSampler:
    sampler = SequentialGradientSampler(
        bare(encoder.encoder),
        micro_batch_size=encoder.sizes.micro_batch_size,
        forward_micro_batch_size=encoder.sizes.forward_micro_batch_size,
        item_dim=encoder.item_dim,
        allow_batch_norm=encoder.allow_batch_norm,
        kept_graphs=encoder.sizes.kept_graphs,
        frozen_stem=encoder.stem,
        check_replay=encoder.check_replay,
    )
    # Whether items interact is for the report to tell.
    sampler.history.has_tried_items = True
    return sampler


def _sampled(sampler: SequentialGradientSampler, run: Trial) -> tuple[Outcome, Cotangents]:
    features = {
        name: x.flatten(0, len(run.items.lead_shape) - 1) if isinstance(x, Tensor) else x
        for name, x in named_leaves(sampler(*run.args, **run.kwargs), FEATURES).items()
    }
    cotangents = _cotangents(features)
    _back_propagate(features, cotangents)
    return run.outcome(features), cotangents


def _cotangents(features: Mapping[str, Any]) -> Cotangents:
    """Draw a random gradient for every feature."""
    generator = torch.Generator().manual_seed(0)
    drawn = {}
    for name, x in features.items():
        if isinstance(x, Tensor) and is_differentiable(x):
            wide = torch.complex128 if x.is_complex() else torch.float64
            drawn[name] = torch.randn(x.shape, dtype=wide, generator=generator, device="cpu").to(x)
    return drawn


def _back_propagate(features: Mapping[str, Any], cotangents: Cotangents) -> None:
    # A leaf whose shape differs from the sampler's is reported as a difference of the features.
    back_propagate(
        (features[name], gradient)
        for name, gradient in cotangents.items()
        if isinstance(x := features.get(name), Tensor)
        and x.requires_grad
        and x.shape == gradient.shape
    )


def _one_call(run: Trial, cotangents: Cotangents) -> Outcome | None:
    """Return the outcome of the naive graph; None if random numbers were drawn in it."""
    before = run.circumstances.random_state()
    features = run.features_of(torch.arange(run.items.num_items, device="cpu"))
    if before.without_undrawn()[1]:
        return None
    _back_propagate(features, cotangents)
    return run.outcome(features)


def _micro_batches(run: Trial, cotangents: Cotangents, *, size: int) -> Outcome:
    parts = []
    for micro_batch in consecutive(run.items.num_items, size=size):
        index = micro_batch.index
        # Each starts from the state at the time of the call, as one call would.
        with run.circumstances.modules.as_called():
            features = run.features_of(index)
        _back_propagate(features, {n: g[index.to(g.device)] for n, g in cotangents.items()})
        parts.append(run.outcome(features))
    joined = {n: _join([part.features[n] for part in parts]) for n in parts[0].features}
    return replace(parts[-1], features=joined)


def _join(parts: Sequence[Any]) -> Any:
    return torch.cat(list(parts)) if isinstance(parts[0], Tensor) else parts[0]


def _without_fill(ours: Outcome, theirs: Outcome) -> Outcome:
    """Return None for zeros that the sampler filled in because several processes train."""
    if not is_distributed():
        return ours
    parameters = {
        name: None if theirs.parameters[name] is None and not gradient.any() else gradient
        for name, gradient in ours.parameters.items()
        if gradient is not None
    }
    return replace(ours, parameters=parameters)
