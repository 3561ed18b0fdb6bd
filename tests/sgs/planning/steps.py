"""Real training steps whose memory is measured, and the encoders in them."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sgs import SequentialGradientSampler, freeze_batch_norm
from sgs.planning.estimate.live_bytes import LiveBytes

METHODS = ("sgs", "naive", "checkpointed")
NUM_ITEMS, MICRO_BATCH_SIZE = 14, 4
adamw = partial(torch.optim.AdamW, foreach=True)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.patches = nn.Conv2d(3, 16, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.patches(x).flatten(2).transpose(1, 2)).mean(1)


class Recomputed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = convolutions()[:3]
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = checkpoint(self.stem, x, use_reentrant=False)
        return self.last(y.mean((2, 3)))


def convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8).eval(),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, bias=False),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def frozen_stem() -> nn.Module:
    module = freeze_batch_norm(convolutions())
    module[0].requires_grad_(False)
    return module


def wide() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 100))


def one_convolution() -> nn.Module:
    """Takes more memory for activations than for parameters, and is quick to estimate."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten())


def stochastic() -> nn.Module:
    return nn.Sequential(wide(), nn.Dropout(), nn.Linear(100, 5))


ENCODERS = [convolutions, Attention, Recomputed, frozen_stem, wide]


def images(num_items: int = NUM_ITEMS, **options: Any) -> Tensor:
    return torch.rand(num_items, 3, 16, 16, **options)


def wrapped(encoder: nn.Module, **options: Any) -> SequentialGradientSampler:
    return SequentialGradientSampler(encoder, micro_batch_size=MICRO_BATCH_SIZE, **options)


class FloatBytes(LiveBytes):
    """Leaves out the sampler's positions of items, which lie in host memory."""

    def _is_new(self, leaf: Any) -> bool:
        is_position = isinstance(leaf, Tensor) and leaf.dtype in (torch.int64, torch.bool)
        return not is_position and super()._is_new(leaf)


def features_of(method: str, sampler: SequentialGradientSampler, items: Tensor) -> Tensor:
    if method == "sgs":
        return sampler(items)
    if method == "naive":
        return sampler.encoder(items)
    parts = items.split(sampler.micro_batch_size)
    return torch.cat([checkpoint(sampler.encoder, part, use_reentrant=False) for part in parts])


def measured(method: str, sampler: SequentialGradientSampler, items: Tensor) -> int:
    """The peak of the second step of a real loop."""
    counter = FloatBytes()
    counter.assign([*sampler.parameters(), *sampler.buffers()], "parameters")
    counter.assign([items], "items")
    optimizer = adamw(sampler.parameters())

    def step() -> None:
        optimizer.zero_grad()
        features = features_of(method, sampler, items)
        loss = features.square().mean()
        loss.backward()
        optimizer.step()

    with counter:
        step()
        optimizer.zero_grad()
        counter.restart_peak()
        step()
    # The optimizer's counts of steps lie in host memory, too.
    return counter.peak.total() - 4 * len(optimizer.state)
