"""Encoders that draw random numbers, from every source that there is."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.sgs.kinds.arguments import INPUT, SEQUENCES, VECTORS, normal
from tests.sgs.kinds.kind import Kind


class StochasticDepth(nn.Module):
    """A residual branch left out for some of the items."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Linear(6, 6)

    def forward(self, items: Tensor) -> Tensor:
        kept = torch.rand(len(items), 1, device=items.device) < 0.6
        return items + torch.where(kept, self.branch(items).tanh() / 0.6, 0.0)


class LayerDrop(nn.Module):
    """Whole layers left out of a call, by numbers in [0, 1) from any source."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(5)])
        self.draw = draw

    def forward(self, items: Tensor) -> Tensor:
        for layer in self.layers:
            if self.draw() < 0.5:
                items = items + layer(items).tanh()
        return items


class Jitter(nn.Module):
    """Augmentation by a function that makes one number per item."""

    def __init__(self, draw: Callable[[int], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.draw = draw

    def forward(self, items: Tensor) -> Tensor:
        factor = 1 + self.draw(len(items)).to(items)
        return self.linear(items * factor[:, None]).tanh()


class OwnedGenerator(nn.Module):
    """Noise from a generator that is an attribute of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.generator = torch.Generator().manual_seed(3)

    def forward(self, items: Tensor) -> Tensor:
        noise = torch.randn(items.shape, generator=self.generator, dtype=torch.float64)
        return self.linear(items + noise.to(items)).tanh()


class Augmentation:
    """No module: a plain object that owns a generator."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(3)

    def __call__(self, num_items: int) -> Tensor:
        return torch.rand(num_items, generator=self.generator)


class SeededNoise(nn.Module):
    """The same noise in each call, by a seed: it belongs to the place in the micro-batch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, items: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            noise = torch.randn(items.shape, dtype=torch.float64)
        return self.linear(items + noise.to(items)).tanh()


class GumbelSoftmax(nn.Module):
    """A choice drawn per item; its gradient is that of the soft choice."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Linear(6, 5)
        self.codes = nn.Linear(5, 4)

    def forward(self, items: Tensor) -> Tensor:
        return self.codes(F.gumbel_softmax(self.logits(items), hard=True))


class AttentionDropout(nn.Module):
    """Attention weights dropped inside of the fused kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.4, batch_first=True)

    def forward(self, items: Tensor) -> Tensor:
        return self.attention(items, items, items, need_weights=False)[0].flatten(1)


def dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.4), nn.GELU(), nn.Linear(16, 4))


def between(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), layer, nn.Linear(5, 4))


def channels(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv1d(3, 5, 2), layer, nn.Flatten())


def images(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 5, 2), layer, nn.Flatten())


def rand_of_torch() -> float:
    return float(torch.rand(()))


def rand_of_numpy(num_items: int) -> Tensor:
    # The state that users' augmentations draw from.
    return torch.from_numpy(np.random.rand(num_items))  # noqa: NPY002


def owned_numpy_generator() -> nn.Module:
    source = np.random.default_rng(3)
    return Jitter(lambda num_items: torch.from_numpy(source.random(num_items)))


def owned_python_random() -> nn.Module:
    return LayerDrop(random.Random(3).random)


class Held(nn.Module):
    """Noise from a generator that the module holds."""

    def __init__(self, held: Any, draw: Callable[[Any, int], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.held = held
        self.draw = draw

    def forward(self, items: Tensor) -> Tensor:
        noise = self.draw(self.held, len(items)).to(items)
        return self.linear(items + noise[:, None]).tanh()


def held_numpy_generator() -> nn.Module:
    return Held(np.random.default_rng(3), lambda held, count: torch.from_numpy(held.random(count)))


def held_python_random() -> nn.Module:
    draw = lambda held, count: torch.tensor([held.random() for _ in range(count)])  # noqa: E731
    return Held(random.Random(3), draw)


class SetsItsGeneratorBack(nn.Module):
    """The same noise in every call, from a generator that is set back after it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, items: Tensor) -> Tensor:
        with torch.random.fork_rng():
            noise = torch.randn(items.shape, dtype=torch.float64).to(items)
        return self.linear(items + noise).tanh()


def held_generator_in_list() -> nn.Module:
    held = [torch.Generator().manual_seed(3)]
    return Held(held, lambda held, count: torch.rand(count, generator=held[0]))


CHANNELS, IMAGES = normal(3, 4, name="input"), normal(3, 4, 4, name="input")

STOCHASTIC = {
    "dropout": Kind(dropout, INPUT, is_stochastic=True),
    "dropout1d": Kind(lambda: channels(nn.Dropout1d(0.4)), CHANNELS, is_stochastic=True),
    "dropout2d": Kind(lambda: images(nn.Dropout2d(0.4)), IMAGES, is_stochastic=True),
    "alpha_dropout": Kind(lambda: between(nn.AlphaDropout(0.4)), INPUT, is_stochastic=True),
    "feature_alpha_dropout": Kind(
        lambda: images(nn.FeatureAlphaDropout(0.4)), IMAGES, is_stochastic=True
    ),
    "rrelu": Kind(lambda: between(nn.RReLU()), INPUT, is_stochastic=True),
    "stochastic_depth": Kind(StochasticDepth, VECTORS, is_stochastic=True),
    "layer_drop": Kind(lambda: LayerDrop(rand_of_torch), VECTORS, is_stochastic=True),
    "layer_drop_by_python": Kind(lambda: LayerDrop(random.random), VECTORS, is_stochastic=True),
    "jitter_by_numpy": Kind(lambda: Jitter(rand_of_numpy), VECTORS, is_stochastic=True),
    "gumbel_softmax": Kind(GumbelSoftmax, VECTORS, is_stochastic=True),
    "attention_dropout": Kind(AttentionDropout, SEQUENCES, is_stochastic=True),
    "seeded_noise": Kind(SeededNoise, VECTORS, is_stochastic=True),
    "owned_generator": Kind(OwnedGenerator, VECTORS, is_stochastic=True),
    "owned_generator_in_object": Kind(lambda: Jitter(Augmentation()), VECTORS, is_stochastic=True),
    "owned_numpy_generator": Kind(owned_numpy_generator, VECTORS, is_stochastic=True),
    "owned_python_random": Kind(owned_python_random, VECTORS, is_stochastic=True),
    "held_numpy_generator": Kind(held_numpy_generator, VECTORS, is_stochastic=True),
    "held_python_random": Kind(held_python_random, VECTORS, is_stochastic=True),
    "generator_set_back": Kind(SetsItsGeneratorBack, VECTORS, is_stochastic=True),
    "held_generator_in_list": Kind(held_generator_in_list, VECTORS, is_stochastic=True),
}
