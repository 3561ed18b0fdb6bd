"""Large encoders, built once."""

import pytest
import torch
from torch import nn

from examples.etad.encoders.build import build_encoder


@pytest.fixture(scope="session")
def residual_encoders() -> dict[str, nn.Module]:
    """By name; copy one before changing it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {name: build_encoder(name) for name in ("resnet50_tsm", "r2plus1d_34")}
