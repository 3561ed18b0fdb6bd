"""The encoders by name.

An encoder is a module that maps snippets `[items, 3, frames, height, width]`, RGB in [0, 255], to
features `[items, channels]`, and has the attribute `feature_channels`. It normalises its input
itself, so that frames stay uint8 until their micro-batch.
"""

from collections.abc import Callable

from examples.etad.encoders.motion_net import MotionNet
from examples.etad.encoders.r2plus1d_34 import r2plus1d_34
from examples.etad.encoders.resnet50_tsm import resnet50_tsm
from examples.etad.encoders.staged import StagedEncoder
from examples.etad.encoders.videomae import videomae

Encoder = MotionNet | StagedEncoder

# Arguments: channels (0: the default), frames per snippet, frame size. Most encoders ignore them.
_Builder = Callable[[int, int, int], Encoder]


def _videomae(hidden_size: int, num_layers: int, num_heads: int) -> _Builder:
    return lambda _, frames_per_snippet, frame_size: videomae(
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=num_heads,
        frames_per_snippet=frames_per_snippet,
        frame_size=frame_size,
    )


ENCODERS: dict[str, _Builder] = {
    "motion_net": lambda channels, *_: MotionNet(channels=channels or 128),
    "resnet50_tsm": lambda *_: resnet50_tsm(),
    "r2plus1d_34": lambda *_: r2plus1d_34(),
    "videomae_small": _videomae(384, 12, 6),
    "videomae_base": _videomae(768, 12, 12),
    "videomae_large": _videomae(1024, 24, 16),
}


def build_encoder(
    name: str, *, channels: int = 0, frames_per_snippet: int = 16, frame_size: int = 224
) -> Encoder:
    """Return a new encoder; its weights come from torch's default generator.

    Args:
        name: One of `ENCODERS`.
        channels: Channels of its features; 0 for the default. Only motion_net can have another.
        frames_per_snippet: Frames of the snippets it will see. Only VideoMAE depends on it.
        frame_size: Height and width of these frames. Only VideoMAE depends on it.

    Raises:
        ValueError: If there is no such encoder, or it has another number of channels.
    """
    if name not in ENCODERS:
        known = ", ".join(map(repr, sorted(ENCODERS)))
        raise ValueError(f"build_encoder(name={name!r}): expected one of {known}.")
    encoder = ENCODERS[name](channels, frames_per_snippet, frame_size)
    if channels not in (0, encoder.feature_channels):
        raise ValueError(
            f"build_encoder(channels={channels}): {name} has {encoder.feature_channels} channels. "
            "Set encoder.channels=0."
        )
    return encoder
