"""Checks of the options of `SequentialGradientSampler`."""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import torch

from samplers import AbstractSampler
from sgs.encoder_checks import check_encoder
from sgs.sizes import AbstractBudget

WEIGHTS = ("inverse_probability", "none")


def check_micro_batch_size(size: Any) -> int | AbstractBudget:
    """Return a number of items, or a budget.

    Raises:
        ValueError: If it is neither a budget nor an integer of at least 1.
    """
    return size if isinstance(size, AbstractBudget) else _integer("micro_batch_size", size, 1)


def check_forward_size(size: Any) -> int | None:
    """Return a number of items, or None.

    Raises:
        ValueError: If it is neither None nor an integer of at least 1.
    """
    return None if size is None else _integer("forward_micro_batch_size", size, 1)


def check_kept_graphs(kept_graphs: Any) -> int:
    """Return a number of micro-batches.

    Raises:
        ValueError: If it is not an integer of at least 0.
    """
    return _integer("kept_graphs", kept_graphs, 0)


def check_item_dim(item_dim: Any) -> int:
    """Return a dimension, counted from the front.

    Raises:
        ValueError: If it is not an integer of at least 0.
    """
    return _integer("item_dim", item_dim, 0)


def _integer(name: str, value: Any, least: int) -> int:
    # Accepts integers of NumPy; rejects booleans.
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(
            f"SequentialGradientSampler({name}={value!r}): expected an integer of at least {least}:"
            f" {_MEANINGS[name]}."
        )
    return int(value)


def _number(value: Any) -> float:
    """Return a real number as a float. Return NaN for anything else: it lies in no range."""
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan


_MEANINGS = {
    "micro_batch_size": "the number of items per encoder call with a graph, or a MemoryBudget",
    "forward_micro_batch_size": "the number of items per encoder call without a graph",
    "kept_graphs": "the number of micro-batches whose graph is kept in the first pass",
    "item_dim": "0 for items of shape [N, ...], 1 for [B, N, ...]",
}


def check_ratio(ratio: Any) -> float:
    """Return a fraction of items.

    Raises:
        ValueError: If it is outside (0, 1].
    """
    value = _number(ratio)
    if 0 < value <= 1:
        return value
    advice = (
        f"Pass a fraction, {value / 100:g} for {value:g} %."
        if 1 < value <= 100
        else "To train only the layers after it, freeze the encoder with requires_grad_(False)."
    )
    raise ValueError(
        f"SequentialGradientSampler(ratio={ratio!r}): expected a value in (0, 1], got {ratio!r}. "
        f"{advice}"
    )


def check_sampler(sampler: Any) -> AbstractSampler:
    """Return a strategy for the items of an encoder.

    Raises:
        TypeError: If it is not an `AbstractSampler`.
        ValueError: If it needs more than features and gradients.
    """
    if not isinstance(sampler, AbstractSampler):
        raise TypeError(
            f"SequentialGradientSampler(sampler={sampler!r}): expected a strategy object such as "
            "samplers.Random()."
        )
    unknown = sorted(sampler.requires - {"features", "gradient_norm"})
    if unknown:
        raise ValueError(
            f"SequentialGradientSampler(sampler={sampler!r}): this strategy requires {unknown}, "
            "which does not exist for the items of an encoder. Use Random(), Grid(), Block(), "
            "FarthestPoint(), DPP() or GradientNorm()."
        )
    return sampler


def check_weights(weights: Any) -> str:
    """Return a kind of weights.

    Raises:
        ValueError: If it is unknown.
    """
    if weights not in WEIGHTS:
        raise ValueError(
            f"SequentialGradientSampler(weights={weights!r}): expected one of {WEIGHTS}."
        )
    return str(weights)


def check_generator(generator: Any) -> torch.Generator | None:
    """Return a generator, or None.

    Raises:
        TypeError: If it is anything else, e.g. a seed.
    """
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"SequentialGradientSampler(generator={generator!r}): expected a torch.Generator or "
            "None. Pass torch.Generator().manual_seed(seed)."
        )
    return generator


def check_tolerance(check_replay: Any) -> bool | float:
    """Return a boolean or a tolerance.

    Raises:
        ValueError: If it is neither a boolean nor in (0, 1).
    """
    if isinstance(check_replay, bool):
        return check_replay
    tolerance = _number(check_replay)
    if not 0 < tolerance < 1:
        raise ValueError(
            f"SequentialGradientSampler(check_replay={check_replay!r}): expected True, False or a "
            "tolerance in (0, 1): the largest allowed relative difference of features."
        )
    return tolerance


CHECKS: dict[str, Callable[[Any], Any]] = {
    "encoder": check_encoder,
    "micro_batch_size": check_micro_batch_size,
    "forward_micro_batch_size": check_forward_size,
    "kept_graphs": check_kept_graphs,
    "ratio": check_ratio,
    "sampler": check_sampler,
    "weights": check_weights,
    "item_dim": check_item_dim,
    "generator": check_generator,
    "check_replay": check_tolerance,
}


def check_weighting(sampler: AbstractSampler, *, ratio: float, weights: str) -> None:
    """Refuse weights that need an inclusion probability, for a strategy without one.

    Raises:
        ValueError: If the strategy has none and the weights need it.
    """
    if weights != "none" and ratio < 1 and not sampler.has_inclusion_probability:
        raise ValueError(
            f"SequentialGradientSampler(sampler={sampler!r}, weights={weights!r}): this strategy "
            "has no inclusion probability to divide by. Pass weights='none', which leaves the "
            "gradient biased, or another strategy, e.g. Random()."
        )
