"""Frozen batch normalization as in the paper: torch's own, in evaluation mode."""

import torch.nn.functional as F
from torch import Tensor, nn

from sgs import FrozenBatchNorm


class TorchsBatchNorm(nn.Module):
    """A frozen layer whose backward keeps its input, unlike that of the library.

    Args:
        layer: Its parameters and statistics.
    """

    def __init__(self, layer: FrozenBatchNorm) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, maps: Tensor) -> Tensor:
        layer = self.layer
        statistics = layer.running_mean, layer.running_var
        return F.batch_norm(maps, *statistics, layer.weight, layer.bias, eps=layer.eps)


def put_torchs_batch_norm(module: nn.Module) -> None:
    """Replace every frozen layer below a module by torch's."""
    for name, child in module.named_children():
        if isinstance(child, FrozenBatchNorm):
            setattr(module, name, TorchsBatchNorm(child))
        else:
            put_torchs_batch_norm(child)
