"""A training step of an ordinary loop, on fake tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from sgs.planning.estimate.rehearsal import HEAD, OPTIMIZER, Rehearsal

MakeOptimizer = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


def peak_of_step(
    rehearsal: Rehearsal,
    features_of: Callable[[], Any],
    loss_of: Callable[[Any], Tensor],
    *,
    autocast: torch.dtype | None,
    optimizer: torch.optim.Optimizer | None,
) -> Counter[str]:
    """Return the bytes by category at the peak of a training step that is not the first.

    The first one differs only by the optimizer's state, which is not there yet. So a single forward
    and backward is run; the state is made after it, and counted as if it had been there before.

    Raises:
        ValueError: If the loss is no single number that requires a gradient.
    """
    memory = rehearsal.memory
    precision = torch.autocast("cpu", dtype=autocast, enabled=autocast is not None)
    with rehearsal.counting():
        memory.restart_peak()
        with precision:
            features = features_of()
            rehearsal.watch_features(features)
            with rehearsal.head():
                loss = _checked(loss_of(features))
        with memory.of(HEAD):
            loss.backward()
        rehearsal.held.clear()
        peak = memory.peak
        if optimizer is None:
            return peak
        with memory.of(OPTIMIZER):
            optimizer.step()
            peak = peak + Counter({OPTIMIZER: memory.current[OPTIMIZER]})
            optimizer.step()
        return max(peak, memory.peak, key=lambda found: found.total())


def optimizer_of(
    make: MakeOptimizer | None, parameters: list[Tensor]
) -> torch.optim.Optimizer | None:
    """Return the optimizer, in the form that GPUs use: all parameters at once.

    Raises:
        TypeError: If `make` does not make one.
    """
    if make is None or not parameters:
        return None
    optimizer = make(parameters)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"estimate(optimizer=...): expected what makes a torch.optim.Optimizer of parameters, "
            f"got something that makes a {type(optimizer).__name__}. Pass a class such as "
            "torch.optim.AdamW, or a functools.partial of one."
        )
    for group in optimizer.param_groups:
        if "foreach" in group and group["foreach"] is None and not group.get("fused"):
            group["foreach"] = True
    return optimizer


def _checked(loss: Any) -> Tensor:
    if isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad:
        return loss
    got = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
    raise ValueError(
        f"estimate(head=...): expected a loss of a single number that requires a gradient, got "
        f"{got}. Let the head return the loss, and the encoder or the head have parameters that "
        "train."
    )
