"""An encoder of two stages and a run that cost nothing, for the scripts at toy size."""

from pathlib import Path

import torch
from torch import Tensor, nn

from examples.etad.encoders.staged import Mean, StagedEncoder
from examples.etad.end_to_end import ETAD
from examples.etad.settings.loading import load_config, override, to_dict
from examples.etad.train import DEFAULT_CONFIG
from examples.etad.training.checkpoint import save_checkpoint
from tests.etad.test_train import SETTINGS


class Scale(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels / 255


def tiny_encoder(*, frame_size: int = 4, channels: int = 4) -> StagedEncoder:
    first = nn.Sequential(Scale(), nn.Linear(frame_size, channels))
    parts = {"layer1": first, "layer2": nn.Linear(channels, 8), "pool": Mean(1, 2, 3)}
    return StagedEncoder(parts, feature_channels=8)


def tiny_checkpoint(folder: Path) -> Path:
    """Write a checkpoint of a run that has not trained, whose videos are still to be rendered."""
    settings = [*SETTINGS, f"data.render_folder={folder / 'set'}"]
    config = override(load_config(DEFAULT_CONFIG), settings)
    torch.manual_seed(1)
    content = {"model": ETAD(config).state_dict(), "config": to_dict(config), "classes": []}
    save_checkpoint(folder / "checkpoint.pt", content)
    return folder / "checkpoint.pt"
