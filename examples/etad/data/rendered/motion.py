"""The laws of motion of the rendered videos: all that tells their classes apart.

A law is a heading per frame; the speed is the same for everything that moves. What is no action
drifts up or down.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

from examples.etad.data.rendered.random_numbers import uniform

Heading = Float64[Tensor, " frames"]  # in radians; 0 is to the right, π / 2 is down

_FRAMES_BETWEEN_TURNS = 60
_ORBIT_FRAMES = 16
_SHAKE_FRAMES = 8


def drift(num_frames: int, generator: torch.Generator) -> Heading:
    """Go up or down, and turn back now and then."""
    turns = uniform(num_frames, generator=generator) < 1 / _FRAMES_BETWEEN_TURNS
    direction = ((turns.cumsum(0) + _coin(generator)) % 2).double()
    return math.pi / 2 + math.pi * direction


def sweep(num_frames: int, generator: torch.Generator) -> Heading:
    """Go left, or right."""
    return torch.full((num_frames,), math.pi * _coin(generator), dtype=torch.float64)


def slant(num_frames: int, generator: torch.Generator) -> Heading:
    """Go along one of the diagonals, one way or the other."""
    quarter = int(4 * uniform(1, generator=generator))
    return torch.full((num_frames,), math.pi / 4 + math.pi / 2 * quarter, dtype=torch.float64)


def orbit(num_frames: int, generator: torch.Generator) -> Heading:
    """Go round in a circle, clockwise or counter-clockwise."""
    phase = uniform(1, generator=generator) + torch.arange(num_frames) / _ORBIT_FRAMES
    return 2 * math.pi * phase * (1 - 2 * _coin(generator))


def shake(num_frames: int, generator: torch.Generator) -> Heading:
    """Go left and right in turn."""
    phase = uniform(1, generator=generator) + torch.arange(num_frames) / _SHAKE_FRAMES
    return math.pi * (2 * phase).floor()


ACTIONS: dict[str, Callable[[int, torch.Generator], Heading]] = {
    "orbit": orbit,
    "shake": shake,
    "slant": slant,
    "sweep": sweep,
}


def follow(
    heading: Heading, *, speed: Tensor, size: int, generator: torch.Generator
) -> Float64[Tensor, "frames 2"]:
    """Follow a heading from a random place; return (y, x) in pixels, in [0, size).

    A sprite that leaves on one side returns on the other, and its start is uniform for any heading,
    so its place in any single frame is uniform too.

    Args:
        heading: Direction of each step.
        speed: Pixels per frame, the same for all frames.
        size: Height and width of the frame.
        generator: Draws the start.
    """
    steps = speed * torch.stack([heading.sin(), heading.cos()], dim=-1)
    return (steps.cumsum(0) + uniform(2, generator=generator, low=0, high=size)) % size


def _coin(generator: torch.Generator) -> int:
    return int(uniform(1, generator=generator) < 0.5)
