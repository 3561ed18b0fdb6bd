"""The optimizer of an estimated step."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

MakeOptimizer = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


def optimizer_of(
    make: MakeOptimizer | None, parameters: list[Tensor]
) -> torch.optim.Optimizer | None:
    """Return the optimizer, which updates all parameters at once as it does on GPUs.

    Raises:
        TypeError: If `make` does not make an optimizer.
    """
    if make is None or not parameters:
        return None
    optimizer = make(parameters)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            "estimate(optimizer=...): expected a callable that makes a torch.optim.Optimizer from "
            f"parameters, got one that makes a {type(optimizer).__name__}. Pass a class such as "
            "torch.optim.AdamW, or a functools.partial of one."
        )
    for group in optimizer.param_groups:
        if "foreach" in group and group["foreach"] is None and not group.get("fused"):
            group["foreach"] = True
    return optimizer
