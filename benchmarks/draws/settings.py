"""The candidates that the strategies of `samplers` are timed on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from aps.tiou import pairwise_tiou
from samplers import DPP, Candidates, count_from_ratio

# The most items with a kernel. The time to use one grows with the third power of their number.
LARGEST_KERNEL = 2000
_NOISE = 0.1
# Start and end of each action, as fractions of the video.
_ACTIONS = torch.tensor([[0.1, 0.3], [0.35, 0.45], [0.6, 0.95]])


@dataclass(frozen=True)
class Setting:
    """Candidates, and the part of them that is chosen.

    Attributes:
        num_snippets: Length of the time axis.
        on_map: Whether the candidates are proposals; snippets if not.
        channels: Channels of the features.
        ratio: Fraction that is chosen.
        features: "walk": they change slowly along time, as those of a video, with some noise;
            "gaussian": they are independent.
        only_features: Whether only feature-guided strategies are timed. The others do not depend on
            what this setting changes.
    """

    num_snippets: int = 128
    on_map: bool = True
    channels: int = 128
    ratio: float = 0.06
    features: str = "walk"
    only_features: bool = False

    @property
    def num_items(self) -> int:
        return len(self._segments()[0])

    @property
    def count(self) -> int:
        return count_from_ratio(self.ratio, self.num_items)

    def row(self) -> dict[str, Any]:
        """Return the entries of a row that describe the candidates."""
        return {**asdict(self), "num_items": self.num_items, "count": self.count}

    def candidates(self, device: torch.device) -> Candidates:
        """Return seeded candidates that every strategy accepts."""
        generator = torch.Generator().manual_seed(0)
        if self.features == "walk":
            features = self._walk(generator)
        else:
            features = torch.randn(self.num_items, self.channels, generator=generator)
        gradient_norm = torch.rand(self.num_items, generator=generator).square()
        start, duration = self._segments()
        segments = torch.stack([start, start + duration], dim=1) / self.num_snippets
        return Candidates(
            num_items=self.num_items,
            valid=self._valid().to(device) if self.on_map else None,
            features=features.to(device),
            kernel=self._kernel(features.to(device)),
            gradient_norm=gradient_norm.to(device),
            tiou=pairwise_tiou(segments, _ACTIONS).amax(dim=1).to(device),
            scale=(duration / self.num_snippets).to(device),
        )

    def _kernel(self, features: Tensor) -> Tensor | None:
        """Return the kernel of `DPP`."""
        if self.num_items > LARGEST_KERNEL:
            return None
        features = torch.nn.functional.normalize(features.double())
        jitter = DPP().jitter * torch.eye(
            len(features), dtype=features.dtype, device=features.device
        )
        return features @ features.T + jitter

    def _valid(self) -> Tensor:
        """Return which proposals end within the video; row: duration, column: start."""
        snippet = torch.arange(self.num_snippets)
        return snippet[:, None] + snippet < self.num_snippets

    def _segments(self) -> tuple[Tensor, Tensor]:
        """Return first snippet and number of snippets of each item."""
        if not self.on_map:
            snippet = torch.arange(self.num_snippets)
            return snippet, torch.ones_like(snippet)
        row, start = self._valid().nonzero(as_tuple=True)
        return start, row + 1

    def _walk(self, generator: torch.Generator) -> Tensor:
        """Return the mean of a random walk over each item's snippets, and noise."""
        shape = (self.num_snippets, self.channels)
        snippets = torch.randn(shape, generator=generator).cumsum(dim=0) / self.num_snippets**0.5
        sums = torch.cat([torch.zeros(1, self.channels), snippets.cumsum(dim=0)])
        start, duration = self._segments()
        means = (sums[start + duration] - sums[start]) / duration[:, None]
        return means + _NOISE * torch.randn(means.shape, generator=generator)


HEADLINE = Setting()
SNIPPETS = Setting(on_map=False, ratio=0.3)
GAUSSIAN = Setting(features="gaussian", only_features=True)
SETTINGS = [
    SNIPPETS,
    Setting(num_snippets=45),
    HEADLINE,
    Setting(num_snippets=256),
    Setting(ratio=0.3),
    Setting(channels=32, only_features=True),
    Setting(channels=512, only_features=True),
    GAUSSIAN,
]
