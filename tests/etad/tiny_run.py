"""A run of the example that takes a second."""

import sys
from pathlib import Path
from typing import Any

import pytest

from examples.etad import train
from examples.etad.training.checkpoint import load_checkpoint

SETTINGS = [
    "data.render_training=5",
    "data.render_validation=2",
    "data.render_frames=64",
    "data.num_snippets=16",
    "data.frames_per_snippet=4",
    "data.frame_size=16",
    "train.batch_size=2",
    "train.epochs=2",
    "train.warmup_steps=2",
    "detector.hidden_channels=32",
    "detector.lstm_channels=16",
    "detector.norm_groups=4",
    "detector.roi_channels=8",
    "detector.trunk_size=16",
    "detector.head_size=8",
    "encoder.channels=16",
]


def main(script: Any, *arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script.__name__, *arguments])
        script.main()


def start(folder: Path, videos: Path, *extra: str) -> dict[str, Any]:
    """Run train.py with the tiny settings; return its checkpoint."""
    settings = [f"data.render_folder={videos}", *SETTINGS, *extra]
    main(train, "--output", str(folder), *(x for s in settings for x in ("--set", s)))
    return load_checkpoint(folder / "checkpoint.pt")
