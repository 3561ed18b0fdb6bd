"""Encoders that recompute parts of themselves in their own backward pass, with dropout inside."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
)

from tests.sgs.kinds.arguments import VECTORS
from tests.sgs.kinds.kind import Kind

Recompute = Callable[[nn.Module, Tensor], Tensor]


class Checkpointed(nn.Module):
    """Layers behind a stem, run by a function that recomputes them."""

    def __init__(self, recompute: Recompute) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 6)
        self.trunk = nn.Sequential(
            nn.Linear(6, 8), nn.Dropout(0.4), nn.GELU(), nn.Linear(8, 4), nn.Dropout(0.2)
        )
        self.recompute = recompute

    def forward(self, items: Tensor) -> Tensor:
        return self.recompute(self.trunk, self.stem(items))


class CheckpointedItems(nn.Module):
    """The whole encoder in a checkpoint, so that no input of it requires a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.4), nn.Linear(5, 4))

    def forward(self, items: Tensor) -> Tensor:
        return checkpoint(self.trunk, items, use_reentrant=False)


def nested(trunk: nn.Module, hidden: Tensor) -> Tensor:
    def outer(hidden: Tensor) -> Tensor:
        hidden = checkpoint(trunk[:3], hidden, use_reentrant=False)
        return trunk[3:](hidden)

    return checkpoint(outer, hidden, use_reentrant=False)


def selective(trunk: nn.Module, hidden: Tensor) -> Tensor:
    def policy(context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        is_kept = operation == torch.ops.aten.addmm.default
        return CheckpointPolicy.MUST_SAVE if is_kept else CheckpointPolicy.PREFER_RECOMPUTE

    contexts = partial(create_selective_checkpoint_contexts, policy)
    return checkpoint(trunk, hidden, use_reentrant=False, context_fn=contexts)


def sequential(trunk: nn.Module, hidden: Tensor) -> Tensor:
    return checkpoint_sequential(trunk, 2, hidden, use_reentrant=False)


def sequential_reentrant(trunk: nn.Module, hidden: Tensor) -> Tensor:
    return checkpoint_sequential(trunk, 2, hidden, use_reentrant=True)


RECOMPUTES: dict[str, Recompute] = {
    "checkpoint": partial(checkpoint, use_reentrant=False),
    "checkpoint_reentrant": partial(checkpoint, use_reentrant=True),
    "checkpoint_nested": nested,
    "checkpoint_selective": selective,
    "checkpoint_sequential": sequential,
    "checkpoint_sequential_reentrant": sequential_reentrant,
}
CHECKPOINTED = {
    name: Kind(partial(Checkpointed, recompute), VECTORS, is_stochastic=True)
    for name, recompute in RECOMPUTES.items()
}
CHECKPOINTED["checkpoint_of_items"] = Kind(CheckpointedItems, VECTORS, is_stochastic=True)
