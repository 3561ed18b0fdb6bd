"""Activation checkpointing inside an encoder, another way to trade time for memory."""

from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class CheckpointedBlock(nn.Module):
    """A block of a stage that is recomputed in the backward.

    Args:
        block: Maps feature maps to feature maps.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, maps: Tensor) -> Tensor:
        result: Any = checkpoint(self.block, maps, use_reentrant=False)
        return result  # type: ignore[no-any-return]


def checkpoint_blocks(trunk: nn.Module) -> None:
    """Replace every block of the trained stages by one that is recomputed."""
    for name, stage in trunk.named_children():
        if not name.startswith("layer"):
            continue
        if isinstance(stage, nn.Sequential):
            for position, block in enumerate(stage):
                stage[position] = CheckpointedBlock(block)
        else:
            setattr(trunk, name, CheckpointedBlock(stage))
