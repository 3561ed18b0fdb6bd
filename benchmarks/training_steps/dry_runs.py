"""Memory and operations of one training step, counted without running it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measuring.rows import Row
from benchmarks.training_steps.checkpointed_blocks import checkpoint_blocks
from benchmarks.training_steps.torchs_batch_norm import put_torchs_batch_norm
from examples.etad.detectors.etad.config import DetectorConfig
from examples.etad.detectors.etad.detector import Detector
from examples.etad.detectors.etad.dry_run_head import DetectorHead
from examples.etad.encoders.build import build_encoder
from examples.etad.encoders.frozen_stages import split_encoder
from sgs import FrozenStem, SequentialGradientSampler, estimate

# In the place of an encoder: the items are features.
NO_ENCODER = ""
FEATURE_CHANNELS = 2048


@dataclass(frozen=True)
class DryRun:
    """One training step; by default that of the paper (section 4.1), with frames on the device.

    Attributes:
        method: The `method` of `sgs.estimate`.
        micro_batch_size: Snippets per encoder call, of all videos: the paper's K times 4.
        ratio: Fraction of the snippets with a gradient.
        encoder: Name of the encoder in the example; `NO_ENCODER` for features on disk.
        frozen_stages: Number of its first stages that do not train.
        num_videos: Videos of a batch.
        num_snippets: Snippets of each.
        frames_per_snippet: Frames of each.
        frame_size: Height and width of each.
        is_streamed: Whether frames stay in host memory, as bytes. If not, they are on the device,
            in single precision.
        caches_stem: Whether the frozen stages are the sampler's `frozen_stem`, with its outputs
            cached in host memory.
        is_half: Whether the step runs under autocast to bfloat16.
        has_torchs_batch_norm: Whether frozen batch normalization is torch's in evaluation mode. If
            not, it is that of `sgs.freeze_batch_norm`, whose backward keeps no feature maps.
        checkpoints_blocks: Whether every residual block is recomputed in the backward.
        bank_ratio: Fraction of the snippets that is encoded; a bank holds the other features.
        has_detector: Whether the head is the ETAD detector. If not, it is the mean square.
    """

    method: str = "sgs"
    micro_batch_size: int = 16
    ratio: float = 1.0
    encoder: str = "resnet50_tsm"
    frozen_stages: int = 2
    num_videos: int = 4
    num_snippets: int = 128
    frames_per_snippet: int = 8
    frame_size: int = 224
    is_streamed: bool = False
    caches_stem: bool = False
    is_half: bool = False
    has_torchs_batch_norm: bool = True
    checkpoints_blocks: bool = False
    bank_ratio: float = 1.0
    has_detector: bool = True

    def row(self) -> Row:
        """Return memory and operations of the step."""
        with torch.device("meta"):
            stem, trunk, channels = self._encoder()
            items = self._items()
            detector = Detector(DetectorConfig(), in_channels=channels)
            head = DetectorHead(detector, num_videos=self.num_videos)
        if self.has_torchs_batch_norm:
            put_torchs_batch_norm(trunk)
        if self.checkpoints_blocks:
            checkpoint_blocks(trunk)
        bank = _Bank(head, self.num_videos, self.num_snippets) if self.has_detector else None
        found = estimate(
            self._sampler(stem, trunk),
            items,
            method=self.method,
            head=bank,
            optimizer=torch.optim.AdamW,
            items_on_device=not self.is_streamed,
            autocast=torch.bfloat16 if self.is_half else None,
        )
        return {
            "setting": asdict(self),
            "peak_bytes": found.peak_bytes,
            "bytes_by_category": found.bytes_by_category,
            "flops": found.flops,
        }

    def _encoder(self) -> tuple[nn.Module | None, nn.Module, int]:
        if self.encoder == NO_ENCODER:
            return None, nn.Identity(), FEATURE_CHANNELS
        encoder: Any = build_encoder(
            self.encoder,
            frames_per_snippet=self.frames_per_snippet,
            frame_size=self.frame_size,
        )
        return *split_encoder(encoder, self.frozen_stages), encoder.feature_channels

    def _items(self) -> Tensor:
        if self.encoder == NO_ENCODER:
            return torch.empty(self.num_videos, self.num_snippets, FEATURE_CHANNELS)
        shape = (3, self.frames_per_snippet, self.frame_size, self.frame_size)
        count = round(self.bank_ratio * self.num_snippets)
        dtype = torch.uint8 if self.is_streamed else torch.float32
        return torch.empty(self.num_videos, count, *shape, dtype=dtype)

    def _sampler(self, stem: nn.Module | None, trunk: nn.Module) -> SequentialGradientSampler:
        whole = trunk if stem is None or self.caches_stem else nn.Sequential(stem, trunk)
        return SequentialGradientSampler(
            whole,
            micro_batch_size=self.micro_batch_size,
            ratio=self.ratio,
            item_dim=1,
            frozen_stem=FrozenStem(stem, "cpu") if stem and self.caches_stem else None,
        )


class _Bank(nn.Module):
    """Adds the features of snippets that were not encoded, before the head."""

    def __init__(self, head: nn.Module, num_videos: int, num_snippets: int) -> None:
        super().__init__()
        self.head = head
        self.shape = (num_videos, num_snippets)

    def forward(self, features: Tensor) -> Tensor:
        missing = self.shape[1] - features.shape[1]
        if missing:
            stored = features.new_empty(self.shape[0], missing, features.shape[2])
            features = torch.cat([features, stored], dim=1)
        loss: Tensor = self.head(features)
        return loss
