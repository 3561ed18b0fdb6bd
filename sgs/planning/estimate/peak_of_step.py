"""The peak of a training step of an ordinary loop, on fake tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sgs.planning.estimate.step_counter import HEAD, OPTIMIZER, StepCounter


def peak_of_step(
    counter: StepCounter,
    features_of: Callable[[], Any],
    loss_of: Callable[[Any], Tensor],
    *,
    autocast: torch.dtype | None,
    optimizer: torch.optim.Optimizer | None,
) -> Counter[str]:
    """Return the bytes by category at the peak of the second step or any later one.

    The second step differs from the first only by the optimizer's state, which exists from its
    start. So one forward and backward run; then the optimizer makes its state, which is added to
    their peak.

    Args:
        counter: Counts the step.
        features_of: Computes the features.
        loss_of: Computes the loss from them.
        autocast: The precision of `torch.autocast`; that of the tensors if None.
        optimizer: Updates the parameters; no update if None.

    Raises:
        ValueError: If the loss is no single number that requires a gradient.
    """
    memory = counter.memory
    precision = torch.autocast("cpu", dtype=autocast, enabled=autocast is not None)
    with counter.counting():
        memory.restart_peak()
        with precision:
            features = features_of()
            counter.watch_features(features)
            with counter.head():
                loss = _checked(loss_of(features))
        with memory.of(HEAD):
            loss.backward()
        counter.held.clear()
        peak = memory.peak
        if optimizer is None:
            return peak
        with memory.of(OPTIMIZER):
            optimizer.step()
            peak = peak + Counter({OPTIMIZER: memory.current[OPTIMIZER]})
            optimizer.step()
        return max(peak, memory.peak, key=lambda categories: categories.total())


def _checked(loss: Any) -> Tensor:
    if isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad:
        return loss
    got = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
    raise ValueError(
        f"estimate(head=...): expected a loss of a single number that requires a gradient, got "
        f"{got}. Let the head return the loss, and let the encoder or the head have parameters "
        "that require a gradient."
    )
