"""ResNet-50 with temporal shifts (TSM), the encoder of most of the paper's tables."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from examples.etad.encoders.initial_weights import damp_branch
from examples.etad.encoders.normalise import IMAGENET, Normalise
from examples.etad.encoders.residual import BLOCKS_PER_STAGE, residual_encoder
from examples.etad.encoders.staged import Mean, StagedEncoder

_EXPANSION = 4

Maps = Float[Tensor, "items frames channels height width"]


def resnet50_tsm() -> StagedEncoder:
    """Return a TSM-ResNet50 without its classifier: 23,508,032 parameters, 2048 channels.

    All batch normalization is frozen (paper section 4.1). Below `stem`, which holds conv1 and bn1,
    parameters are called as in torchvision's ResNet.

    33 billion multiply-adds for a snippet of 8 frames of 224 × 224 pixels.

    Example:
        >>> resnet50_tsm()(torch.zeros(2, 3, 8, 32, 32, dtype=torch.uint8)).shape
        torch.Size([2, 2048])
    """
    return residual_encoder(
        Normalise(IMAGENET), _Stem(), _Bottleneck, expansion=_EXPANSION, pool=Mean(1, 3, 4)
    )


def shift_in_time(maps: Maps, *, divisor: int = 8) -> Maps:
    """Give each frame some channels of the next frame and some of the one before.

    Channels shifted out of the snippet are lost, and zeros come in: snippets do not interact.

    Args:
        maps: Feature maps of the frames of each snippet.
        divisor: One channel in so many is shifted each way.

    Example:
        >>> shift_in_time(torch.arange(6.0).view(1, 3, 2, 1, 1), divisor=2).flatten()
        tensor([2., 0., 4., 1., 0., 3.])
    """
    fold = maps.shape[2] // divisor
    following, previous, still = maps.split([fold, fold, maps.shape[2] - 2 * fold], dim=2)
    space = (0, 0, 0, 0, 0, 0)
    following = F.pad(following[:, 1:], (*space, 0, 1))
    previous = F.pad(previous[:, :-1], (*space, 1, 0))
    return torch.cat([following, previous, still], dim=2)


class _Stem(nn.Module):
    """What comes before the first stage."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)

    def forward(self, snippets: Float[Tensor, "items 3 frames height width"]) -> Maps:
        frames = snippets.transpose(1, 2)
        maps = F.relu_(self.bn1(self.conv1(frames.flatten(0, 1))))
        maps = F.max_pool2d(maps, 3, stride=2, padding=1)
        result: Tensor = maps.unflatten(0, frames.shape[:2])
        return result


class _Bottleneck(nn.Module):
    """A residual block whose branch, not its shortcut, sees the shifted maps."""

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        out_channels = _EXPANSION * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        damp_branch(self.bn3, num_blocks=sum(BLOCKS_PER_STAGE))
        self.downsample: nn.Module = nn.Identity()
        if in_channels != out_channels:
            project = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(project, nn.BatchNorm2d(out_channels))

    def forward(self, maps: Maps) -> Maps:
        shortcut = self.downsample(maps.flatten(0, 1))
        branch = shift_in_time(maps).flatten(0, 1)
        # In place: the backward of a frozen normalization does not need its output.
        branch = F.relu_(self.bn1(self.conv1(branch)))
        branch = F.relu_(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        result: Tensor = F.relu_(branch.add_(shortcut)).unflatten(0, maps.shape[:2])
        return result
