"""The structure that residual networks of four stages share."""

from collections.abc import Callable

from torch import nn

from examples.etad.encoders.initial_weights import initialise_convolutions
from examples.etad.encoders.normalise import Normalise
from examples.etad.encoders.staged import Mean, StagedEncoder
from sgs import freeze_batch_norm

# The same for ResNet-34, of two convolutions per block, and ResNet-50, of three.
BLOCKS_PER_STAGE = (3, 4, 6, 3)
STEM_CHANNELS = 64


def residual_encoder(
    normalise: Normalise,
    stem: nn.Module,
    block: Callable[..., nn.Module],
    *,
    expansion: int,
    pool: Mean,
) -> StagedEncoder:
    """Return an encoder of four stages, all batch normalization frozen (paper section 4.1).

    Args:
        normalise: The first part.
        stem: What comes before the first stage; returns `STEM_CHANNELS` channels.
        block: Makes a block of `(in_channels, channels, stride=...)`.
        expansion: Output channels of a block, as a multiple of `channels`.
        pool: The last part.
    """
    parts: dict[str, nn.Module] = {"normalise": normalise, "stem": stem}
    in_channels = STEM_CHANNELS
    for stage, num_blocks in enumerate(BLOCKS_PER_STAGE):
        channels = STEM_CHANNELS * 2**stage
        blocks = []
        for number in range(num_blocks):
            stride = 2 if stage > 0 and number == 0 else 1
            blocks.append(block(in_channels, channels, stride=stride))
            in_channels = expansion * channels
        parts[f"layer{stage + 1}"] = nn.Sequential(*blocks)
    parts["pool"] = pool
    encoder = StagedEncoder(parts, feature_channels=in_channels)
    initialise_convolutions(encoder)
    freeze_batch_norm(encoder)
    return encoder
