"""The common input of all ways of training: an encoder, its items, and a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from examples.etad.encoders.build import build_encoder
from examples.etad.encoders.frozen_stages import split_encoder


@dataclass(frozen=True, eq=False)
class Workload:
    """One training step without its method.

    Attributes:
        trunk: The trained part of the encoder.
        stem: The frozen part before it; None if there is none.
        items: All items of the step, `[N, ...]`.
        loss_of: Head and loss, from the features of all items to a number.
        micro_batch_size: Items per encoder call.
    """

    trunk: nn.Module
    stem: nn.Module | None
    items: Tensor
    loss_of: Callable[[Tensor], Tensor]
    micro_batch_size: int

    @property
    def encoder(self) -> nn.Module:
        """Stem and trunk."""
        return self.trunk if self.stem is None else nn.Sequential(self.stem, self.trunk)

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that get a gradient, the head's included."""
        head = self.loss_of.parameters() if isinstance(self.loss_of, nn.Module) else ()
        return [p for p in (*self.trunk.parameters(), *head) if p.requires_grad]


@dataclass(frozen=True)
class Size:
    """Encoder and sizes of a workload.

    Attributes:
        encoder: Name of the encoder in the example.
        frozen_stages: Number of its first stages that do not train.
        num_items: Snippets, of all videos.
        frames_per_snippet: Frames of each.
        frame_size: Height and width of each frame.
        micro_batch_size: Snippets per encoder call.
        forward_micro_batch_size: Snippets per encoder call without a graph, in one of the cases.
        num_videos: Videos that the snippets belong to, the same number each.
    """

    encoder: str
    frozen_stages: int
    num_items: int
    frames_per_snippet: int
    frame_size: int
    micro_batch_size: int
    forward_micro_batch_size: int
    num_videos: int = 1

    def workload(self, loss_of: Callable[[int], Callable[[Tensor], Tensor]]) -> Workload:
        """Build it on torch's default device, with weights and pixels from its generator.

        Args:
            loss_of: Makes head and loss from the number of channels of the features.
        """
        encoder: Any = build_encoder(
            self.encoder,
            frames_per_snippet=self.frames_per_snippet,
            frame_size=self.frame_size,
        )
        stem, trunk = split_encoder(encoder, self.frozen_stages)
        shape = (self.num_items, 3, self.frames_per_snippet, self.frame_size, self.frame_size)
        return Workload(
            trunk=trunk,
            stem=stem,
            items=torch.randint(256, shape, dtype=torch.uint8),
            loss_of=loss_of(encoder.feature_channels),
            micro_batch_size=self.micro_batch_size,
        )


class TemporalHead(nn.Module):
    """A convolution over time and a mean square: a head that costs next to nothing.

    A larger head would dilute the differences between the ways to train the encoder.

    Args:
        channels: Channels of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(channels, 16, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the loss of the features of all items, `[N, channels]`."""
        mixed: Tensor = self.convolution(features.T[None])
        return mixed.square().mean()
