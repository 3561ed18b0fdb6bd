"""Drawing of the rendered videos: sprites that move over a textured background.

NOTE [ One frame tells nothing ]
Sprites live on a torus: what leaves on one side returns on the other. Every path starts at a
uniformly random place, drawn apart from everything else, so in any single frame each sprite is
uniformly distributed whatever the law it follows. Number, size, shape, colour and order of the
sprites and the background are drawn apart from the schedule too. One frame is therefore
independent of the actions; only the order of several is not.
"""

import math

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from examples.etad.data.rendered.action_times import Instance
from examples.etad.data.rendered.motion import ACTIONS, Heading, drift, follow
from examples.etad.data.rendered.random_numbers import uniform

_NUM_WAVES = 12
_CONTRAST = 0.5  # smallest distance of a sprite's colour from the mean background, in RGB of [0, 1]


def draw_video(
    schedule: list[Instance], *, num_frames: int, frame_size: int, generator: torch.Generator
) -> UInt8[Tensor, "frames channels height width"]:
    """Draw a square video in which one or two sprites act as the schedule says.

    One or two others, of the same kind, drift all the time, as the actors do between actions. All
    move at the same speed, so that the amount of motion does not give an action away.

    Args:
        schedule: The actions, which do not overlap.
        num_frames: Frames of the video.
        frame_size: Height and width in pixels, at least 16; everything scales with it.
        generator: Source of all that is random.
    """
    num_actors, num_distractors = (1 + int(2 * uniform(1, generator=generator)) for _ in range(2))
    speed = uniform(1, generator=generator, low=1.5, high=2.5) * frame_size / 48
    frames, mean_colour = _background(num_frames, frame_size, generator)
    headings = [_act(schedule, num_frames, generator) for _ in range(num_actors)]
    headings += [drift(num_frames, generator) for _ in range(num_distractors)]
    for sprite in torch.randperm(len(headings), generator=generator).tolist():
        path = follow(headings[sprite], speed=speed, size=frame_size, generator=generator)
        _draw_sprite(frames, path, mean_colour, generator)
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 3, 1, 2).contiguous()


def _act(schedule: list[Instance], num_frames: int, generator: torch.Generator) -> Heading:
    heading = drift(num_frames, generator)
    for action in schedule:
        law = ACTIONS[action.label]
        heading[action.start : action.end] = law(action.end - action.start, generator)
    return heading


def _background(
    num_frames: int, size: int, generator: torch.Generator
) -> tuple[Float[Tensor, "frames size size 3"], Float64[Tensor, " 3"]]:
    """Return a smooth texture that pans slowly, and its mean colour."""
    frequency = torch.randint(-4, 5, (_NUM_WAVES, 2), generator=generator).double()
    amplitude = uniform(_NUM_WAVES, 3, generator=generator, low=-1, high=1)
    strength = uniform(1, generator=generator, low=0, high=0.08) * math.sqrt(2)
    amplitude = amplitude / amplitude.norm(dim=0) * strength
    angle = uniform(1, generator=generator, low=0, high=2 * math.pi)
    pan = torch.cat([angle.sin(), angle.cos()]) * uniform(1, generator=generator, low=0, high=0.3)
    origin = torch.arange(num_frames)[:, None] * pan + uniform(
        2, generator=generator, low=0, high=size
    )
    mean_colour = uniform(3, generator=generator, low=0.25, high=0.75)
    # A sum of waves cos(a + b) is a product of what depends on the frame and on the pixel.
    time = 2 * math.pi / size * origin @ frequency.T
    rows, columns = (
        2 * math.pi / size * torch.arange(size)[:, None] * frequency[:, axis] for axis in (0, 1)
    )
    place = rows[:, None] + columns[None]
    basis = torch.cat([place.cos(), -place.sin()], dim=-1)
    weight = torch.cat([time.cos(), time.sin()], dim=-1)
    waves = torch.einsum(
        "fw,yxw,wc->fyxc", weight.float(), basis.float(), amplitude.repeat(2, 1).float()
    )
    return waves + mean_colour.float(), mean_colour


def _draw_sprite(
    frames: Float[Tensor, "frames size size 3"],
    path: Float64[Tensor, "frames 2"],
    mean_colour: Float64[Tensor, " 3"],
    generator: torch.Generator,
) -> None:
    """Draw a smooth blob, with soft edges so that it moves by parts of a pixel."""
    size = frames.shape[1]
    radius = uniform(1, generator=generator, low=3.0, high=4.5) * size / 48
    colour = _distinct_colour(mean_colour, generator)
    bumps = uniform(2, generator=generator, low=-0.2, high=0.2)
    turned = uniform(2, generator=generator, low=0, high=2 * math.pi)
    reach = math.ceil(1.5 * float(radius)) + 1
    offset = torch.arange(-reach, reach + 1)
    corner = path.floor()
    y = (offset - (path - corner)[:, :1])[:, :, None]
    x = (offset - (path - corner)[:, 1:])[:, None, :]
    angle = torch.atan2(y, x)
    wave = bumps[0] * torch.cos(2 * angle + turned[0]) + bumps[1] * torch.cos(3 * angle + turned[1])
    inside = radius * (1 + wave) - (x.square() + y.square()).sqrt()
    cover = (inside + 0.5).clamp(0, 1).float()[..., None]
    rows = ((corner[:, :1] + offset) % size).long()[:, :, None]
    columns = ((corner[:, 1:] + offset) % size).long()[:, None, :]
    which = torch.arange(len(frames))[:, None, None]
    below = frames[which, rows, columns]
    frames[which, rows, columns] = below + cover * (colour.float() - below)


def _distinct_colour(
    mean_colour: Float64[Tensor, " 3"], generator: torch.Generator
) -> Float64[Tensor, " 3"]:
    while True:
        colour = uniform(3, generator=generator)
        if float((colour - mean_colour).norm()) > _CONTRAST:
            return colour
