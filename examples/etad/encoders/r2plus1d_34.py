"""R(2+1)D-34, the encoder of the paper's best result, as in TSP."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from examples.etad.encoders.initial_weights import damp_branch
from examples.etad.encoders.normalise import KINETICS, Normalise
from examples.etad.encoders.residual import BLOCKS_PER_STAGE, residual_encoder
from examples.etad.encoders.staged import Mean, StagedEncoder

# Larger than torch's default; the published weights were trained with it.
_EPS = 1e-3

Maps = Float[Tensor, "items channels frames height width"]


def r2plus1d_34() -> StagedEncoder:
    """Return an R(2+1)D-34 without its classifier: 63,491,975 parameters, 512 channels.

    All batch normalization is frozen (paper section 4.1). Names and shapes are those of TSP's
    checkpoints. 76 billion multiply-adds for a snippet of 16 frames of 112 × 112 pixels.

    Example:
        >>> import torch
        >>> r2plus1d_34()(torch.zeros(2, 3, 8, 16, 16, dtype=torch.uint8)).shape
        torch.Size([2, 512])
    """
    return residual_encoder(Normalise(KINETICS), _stem(), _Block, expansion=1, pool=Mean(2, 3, 4))


def _stem() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(3, 45, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
        _norm(45),
        nn.ReLU(inplace=True),
        nn.Conv3d(45, 64, (3, 1, 1), padding=(1, 0, 0), bias=False),
        _norm(64),
        nn.ReLU(inplace=True),
    )


def _convolve(in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    """A 3 × 3 × 3 convolution, factorised into space and time at the same number of parameters."""
    between = (27 * in_channels * out_channels) // (9 * in_channels + 3 * out_channels)
    space, time = (1, 3, 3), (3, 1, 1)
    return nn.Sequential(
        nn.Conv3d(
            in_channels, between, space, stride=(1, stride, stride), padding=(0, 1, 1), bias=False
        ),
        _norm(between),
        nn.ReLU(inplace=True),
        nn.Conv3d(
            between, out_channels, time, stride=(stride, 1, 1), padding=(1, 0, 0), bias=False
        ),
    )


def _norm(channels: int) -> nn.BatchNorm3d:
    return nn.BatchNorm3d(channels, eps=_EPS)


class _Block(nn.Module):
    """A residual block of two factorised convolutions."""

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            _convolve(in_channels, channels, stride=stride), _norm(channels), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(_convolve(channels, channels, stride=1), _norm(channels))
        damp_branch(self.conv2[1], num_blocks=sum(BLOCKS_PER_STAGE))
        self.downsample: nn.Module = nn.Identity()
        if in_channels != channels:
            project = nn.Conv3d(in_channels, channels, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(project, _norm(channels))

    def forward(self, maps: Maps) -> Maps:
        branch = self.conv2(self.conv1(maps))
        # In place: the backward of a frozen normalization does not need its output.
        return F.relu_(branch.add_(self.downsample(maps)))
