"""When the actions of a rendered video happen."""

import math
from dataclasses import dataclass

import torch

from examples.etad.data.rendered.motion import ACTIONS
from examples.etad.data.rendered.random_numbers import uniform

_EMPTY_PROBABILITY = 0.08
_MAX_INSTANCES = 4
_SHORTEST, _LONGEST, _GAP = 0.06, 0.4, 0.03  # fractions of the video
_LARGEST_TOTAL = 0.85


@dataclass(frozen=True)
class Instance:
    """One action of a rendered video.

    Args:
        start: First frame.
        end: First frame after it.
        label: One of `ACTIONS`.
    """

    start: int
    end: int
    label: str


def draw_schedule(num_frames: int, *, generator: torch.Generator) -> list[Instance]:
    """Draw none to four actions, in order and with gaps between them."""
    if uniform(1, generator=generator) < _EMPTY_PROBABILITY:
        return []
    count = 1 + int(_MAX_INSTANCES * uniform(1, generator=generator))
    free = -math.inf
    while free < 1 - _LARGEST_TOTAL:
        # Log-uniform: as many short actions as long ones, at every scale.
        exponent = uniform(count, generator=generator) * math.log(_LONGEST / _SHORTEST)
        lengths = _SHORTEST * exponent.exp()
        free = float(1 - lengths.sum() - _GAP * (count - 1))
    before = lengths.cumsum(0) - lengths + _GAP * torch.arange(count)
    starts = uniform(count, generator=generator).sort().values * free + before
    names = tuple(ACTIONS)
    labels = [names[int(len(names) * u)] for u in uniform(count, generator=generator)]
    return [
        Instance(round(start * num_frames), round((start + length) * num_frames), label)
        for start, length, label in zip(starts.tolist(), lengths.tolist(), labels, strict=True)
    ]
