"""The encoders by name.

An encoder is a module that maps snippets `[items, 3, frames, height, width]`, RGB in [0, 255], to
features `[items, channels]`, and has the attribute `feature_channels`. It normalises its input
itself, so that frames stay uint8 until their micro-batch.
"""

from collections.abc import Callable

from torch import nn

from examples.etad.model.encoders.motion_net import MotionNet

ENCODERS: dict[str, Callable[..., nn.Module]] = {"motion_net": MotionNet}


def build_encoder(name: str, *, channels: int) -> nn.Module:
    """Return a new encoder; its weights come from torch's default generator.

    Args:
        name: One of `ENCODERS`.
        channels: Channels of its features.

    Raises:
        ValueError: If there is no such encoder.
    """
    if name not in ENCODERS:
        known = ", ".join(map(repr, sorted(ENCODERS)))
        raise ValueError(f"build_encoder(name={name!r}): expected one of {known}.")
    return ENCODERS[name](channels=channels)
