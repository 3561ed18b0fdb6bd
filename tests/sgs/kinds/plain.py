"""Encoders without surprises, and all forms of output that a call may return."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sgs import freeze_batch_norm
from tests.sgs.kinds.arguments import INPUT, VECTORS, normal
from tests.sgs.kinds.kind import Kind


class Outputs(nn.Module):
    """Two levels of features, in the form that a function of both and of the items gives them."""

    def __init__(self, arrange: Callable[[Tensor, Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.low = nn.Linear(6, 5)
        self.high = nn.Linear(5, 4)
        self.arrange = arrange

    def forward(self, items: Tensor) -> Any:
        low = self.low(items).tanh()
        return self.arrange(low, self.high(low), items)


class Levels(NamedTuple):
    """Outputs by name."""

    low: Tensor
    high: Tensor


@dataclass
class LevelsObject:
    """Outputs in an object of the user's own class, which pytree has to be told about."""

    low: Tensor
    high: Tensor


pytree.register_pytree_node(
    LevelsObject,
    lambda levels: ([levels.low, levels.high], None),
    lambda leaves, _: LevelsObject(*leaves),
)


class UnusedSubmodule(nn.Module):
    """A layer that no forward pass reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(6, 4)
        self.unused = nn.Linear(6, 4)

    def forward(self, items: Tensor) -> Tensor:
        return self.used(items).tanh()


class FrozenStage(nn.Module):
    """A first stage without gradients, as the paper's encoders have."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 5).requires_grad_(False)
        self.trunk = nn.Linear(5, 4)

    def forward(self, items: Tensor) -> Tensor:
        return self.trunk(F.gelu(self.stem(items)))


class StoppedBranch(nn.Module):
    """A teacher branch whose gradient is stopped inside the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Linear(6, 4)
        self.teacher = nn.Linear(6, 4)

    def forward(self, items: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.teacher(items).tanh()
        return self.student(items).tanh() * target


def conv3d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    )


def transformer_block() -> nn.Module:
    block = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    return nn.Sequential(block, nn.Flatten())


def one_bias() -> nn.Module:
    encoder = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).requires_grad_(False)
    encoder[0].bias.requires_grad_(True)
    return encoder


def batch_norm(*, freeze_affine: bool) -> nn.Module:
    encoder = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.GELU(), nn.Linear(5, 4))
    encoder[1].running_mean.normal_()
    encoder[1].running_var.uniform_(0.5, 2.0)
    return freeze_batch_norm(encoder, freeze_affine=freeze_affine)


def instance_norm() -> nn.Module:
    return nn.Sequential(nn.Conv1d(3, 4, 3), nn.InstanceNorm1d(4, affine=True), nn.Flatten())


def group_norm() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.Flatten())


def normalised(layer: Callable[[int], nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), layer(5), nn.GELU(), nn.Linear(5, 4))


IMAGES = normal(2, 4, 4, name="input")

PLAIN = {
    "linear": Kind(lambda: nn.Linear(6, 4), INPUT),
    "conv3d": Kind(conv3d, normal(2, 3, 5, 5, name="input")),
    "transformer_block": Kind(transformer_block, normal(3, 8, name="input")),
    "unused_submodule": Kind(UnusedSubmodule, VECTORS),
    "frozen_stage": Kind(FrozenStage, VECTORS),
    "one_bias": Kind(one_bias, INPUT),
    "stopped_branch": Kind(StoppedBranch, VECTORS),
    "layer_norm": Kind(lambda: normalised(nn.LayerNorm), INPUT),
    "rms_norm": Kind(lambda: normalised(nn.RMSNorm), INPUT),
    "group_norm": Kind(group_norm, IMAGES),
    "instance_norm": Kind(instance_norm, normal(3, 6, name="input")),
    "batch_norm_frozen": Kind(lambda: batch_norm(freeze_affine=True), INPUT),
    "batch_norm_frozen_statistics": Kind(lambda: batch_norm(freeze_affine=False), INPUT),
}

OUTPUTS = {
    "dict_output": lambda low, high, items: {"levels": [low, high], "argmax": items.argmax(dim=1)},
    "tuple_output": lambda low, high, items: (low, high),
    "multi_scale_output": lambda low, high, items: [low.unsqueeze(1) * low.unsqueeze(2), high],
    "named_tuple_output": lambda low, high, items: Levels(low, high),
    "dataclass_output": lambda low, high, items: LevelsObject(low, high),
    "output_with_constants": lambda low, high, items: (high, None, 3, "name", low > 0),
    "detached_output": lambda low, high, items: (high, low.detach()),
    "repeated_output": lambda low, high, items: (high, high, low),
    "items_in_output": lambda low, high, items: (high, items),
    "strided_output": lambda low, high, items: (high.t().contiguous().t(), low[:, ::2]),
    "expanded_output": lambda low, high, items: high[:, :1].expand(-1, 3),
}
PLAIN |= {name: Kind(lambda a=arrange: Outputs(a), VECTORS) for name, arrange in OUTPUTS.items()}
