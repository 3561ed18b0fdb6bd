"""A run of the example, opened again: its videos and its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from examples.etad.data.dataset import VideoDataset
from examples.etad.data.from_settings import find_videos, open_dataset
from examples.etad.end_to_end import ETAD
from examples.etad.settings.config import Config
from examples.etad.settings.loading import config_from
from examples.etad.training.checkpoint import load_checkpoint

CHECKPOINT = Path("runs/synthetic/checkpoint.pt")


@dataclass(frozen=True)
class TrainedRun:
    """A checkpoint with its settings and videos.

    Attributes:
        config: The settings of the run.
        training: The training videos, without augmentation.
        weights: The weights of the trained model.
    """

    config: Config
    training: VideoDataset
    weights: Mapping[str, Any]

    @classmethod
    def open(cls, checkpoint_path: Path) -> TrainedRun:
        """Read the checkpoint and find its videos; render missing synthetic ones.

        Raises:
            FileNotFoundError: If the checkpoint or a file of the videos is missing.
            ValueError: If the checkpoint was not written by the example.
        """
        checkpoint = load_checkpoint(checkpoint_path)
        config = config_from(checkpoint["config"])
        videos = find_videos(config.data)
        training = open_dataset(videos.training, config.data, classes=videos.classes)
        return cls(config, training, checkpoint["model"])

    def untrained_model(self) -> ETAD:
        torch.manual_seed(self.config.train.seed)
        return ETAD(self.config)

    def trained_model(self) -> ETAD:
        model = self.untrained_model()
        model.load_state_dict(self.weights)
        return model
