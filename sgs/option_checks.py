"""Checks of the options of `SequentialGradientSampler`."""

import math
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any

import torch

from samplers import AbstractSampler
from sgs.encoder_checks import check_encoder
from sgs.sizes import AbstractBudget

WEIGHTS = ("inverse_probability", "none")


def _integer(name: str, least: int, value: Any) -> int:
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


def _ratio(ratio: Any) -> float:
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


def _strategy(sampler: Any) -> AbstractSampler:
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


def _weights(weights: Any) -> str:
    if weights not in WEIGHTS:
        raise ValueError(
            f"SequentialGradientSampler(weights={weights!r}): expected one of {WEIGHTS}."
        )
    return str(weights)


def _generator(generator: Any) -> torch.Generator | None:
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"SequentialGradientSampler(generator={generator!r}): expected a torch.Generator or "
            "None. Pass torch.Generator().manual_seed(seed)."
        )
    return generator


def _tolerance(check_replay: Any) -> bool | float:
    if isinstance(check_replay, bool):
        return check_replay
    tolerance = _number(check_replay)
    if not 0 < tolerance < 1:
        raise ValueError(
            f"SequentialGradientSampler(check_replay={check_replay!r}): expected True, False or a "
            "tolerance in (0, 1): the largest allowed relative difference of features."
        )
    return tolerance


def _micro_batch_size(size: Any) -> int | AbstractBudget:
    return size if isinstance(size, AbstractBudget) else _integer("micro_batch_size", 1, size)


def _forward_size(size: Any) -> int | None:
    return None if size is None else _integer("forward_micro_batch_size", 1, size)


# Each returns the value to store for an option, or raises a TypeError or a ValueError.
CHECKS: dict[str, Callable[[Any], Any]] = {
    "encoder": check_encoder,
    "micro_batch_size": _micro_batch_size,
    "forward_micro_batch_size": _forward_size,
    "kept_graphs": partial(_integer, "kept_graphs", 0),
    "item_dim": partial(_integer, "item_dim", 0),
    "ratio": _ratio,
    "sampler": _strategy,
    "weights": _weights,
    "generator": _generator,
    "check_replay": _tolerance,
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
