"""A snippet encoder small enough for two CPU cores."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn


class MotionNet(nn.Module):
    """Encode the motion in a snippet.

    Differences of successive frames leave only motion. A convolution per frame, rectified on both
    sides, finds its edges, which spatio-temporal convolutions put together. Group normalisation
    keeps snippets independent of each other, as sequentialized gradients require.

    24 million multiply-adds for a snippet of 8 frames of 48 × 48 pixels.

    Args:
        channels: Channels of the features, at least 1.

    Raises:
        ValueError: If `channels` is below 1.

    Example:
        >>> snippets = torch.zeros(2, 3, 8, 48, 48, dtype=torch.uint8)
        >>> MotionNet(channels=32)(snippets).shape
        torch.Size([2, 32])
    """

    std: Tensor

    def __init__(self, *, channels: int = 128) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"MotionNet(channels={channels}): expected at least 1.")
        self.feature_channels = channels
        # No mean, which would cancel in the differences. Not saved, because it is constant.
        self.register_buffer("std", torch.tensor(64.0), persistent=False)
        self.edges = nn.Conv3d(3, 8, (1, 5, 5), stride=(1, 2, 2), padding=(0, 2, 2))
        self.body = nn.Sequential(
            *_block(8, 24, stride=(1, 2, 2)),
            *_block(24, 48, stride=(2, 2, 2)),
            *_block(48, 64, stride=1),
        )
        self.project = nn.Linear(2 * 64, channels)

    def forward(
        self, snippets: Shaped[Tensor, "items channels frames height width"]
    ) -> Float[Tensor, "items feature_channels"]:
        """Encode snippets.

        Args:
            snippets: At least two frames each, RGB in [0, 255], uint8 or floating point.

        Raises:
            ValueError: If the shape is not as described.
        """
        if snippets.ndim != 5 or snippets.shape[1] != 3 or snippets.shape[2] < 2:
            raise ValueError(
                "MotionNet(snippets=...): expected shape (items, 3, frames, height, width) with at "
                f"least 2 frames, got {tuple(snippets.shape)}. One frame has no motion: raise "
                "frames_per_snippet."
            )
        # Converted before the difference: uint8 would wrap around.
        motion = snippets.to(self.edges.weight.dtype).diff(dim=2) / self.std
        maps = self.body(self.edges(motion).abs())
        # The maximum shows one moving sprite among many; the mean, how many there are.
        pooled = torch.cat([maps.amax(dim=(2, 3, 4)), maps.mean(dim=(2, 3, 4))], dim=1)
        features: Tensor = self.project(pooled)
        return features


def _block(
    in_channels: int, out_channels: int, *, stride: int | tuple[int, int, int]
) -> tuple[nn.Module, ...]:
    return (
        nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(8, out_channels),
        nn.ReLU(),
    )
