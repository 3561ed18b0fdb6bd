"""Which frames make up each snippet of a video."""

from collections.abc import Mapping
from typing import Protocol

import torch
from jaxtyping import Int
from torch import Tensor


class Placement(Protocol):
    """Returns the frame numbers of each snippet."""

    def __call__(
        self, num_frames: int, *, num_snippets: int, frames_per_snippet: int, frame_stride: int = 1
    ) -> Int[Tensor, "snippets frames"]: ...


def centred_snippets(
    num_frames: int, *, num_snippets: int, frames_per_snippet: int, frame_stride: int = 1
) -> Int[Tensor, "snippets frames"]:
    """Centre snippet i on the cell [i / N, (i + 1) / N) of the video, the grid of the labels.

    Frame f is on display from f to f + 1; a snippet takes the frames on display at instants that
    are `frame_stride` apart and symmetric about the centre of its cell. Instants outside the video
    take its first or last frame. The outermost snippets therefore repeat a frame if snippets are
    longer than their cells; in a video shorter than one snippet, all of them do.

    (OpenTAD also centres snippets on cells, half a frame earlier.)

    Args:
        num_frames: Frames of the video, at least 1.
        num_snippets: Snippets per video (N), at least 1.
        frames_per_snippet: Frames per snippet (T), at least 1.
        frame_stride: Distance of neighbouring frames of a snippet, at least 1.

    Raises:
        ValueError: If an argument is below 1.

    Example:
        >>> centred_snippets(8, num_snippets=2, frames_per_snippet=6)
        tensor([[0, 0, 1, 2, 3, 4],
                [3, 4, 5, 6, 7, 7]])
    """
    _check(num_frames, num_snippets, frames_per_snippet, frame_stride)
    # Instants times 2 N are integers, whose floor is exact; a quotient could be rounded up.
    centre = (2 * torch.arange(num_snippets) + 1) * num_frames
    step = (2 * torch.arange(frames_per_snippet) + 1 - frames_per_snippet) * frame_stride
    instant = centre[:, None] + num_snippets * step
    index = torch.div(instant, 2 * num_snippets, rounding_mode="floor")
    return index.clamp(0, num_frames - 1)


def official_snippets(
    num_frames: int, *, num_snippets: int, frames_per_snippet: int, frame_stride: int = 1
) -> Int[Tensor, "snippets frames"]:
    """Spread the snippets from the first frame to the last, as the released code does.

    Snippet i starts at frame round(i (F - T) / (N - 1)): at both ends up to half a snippet off the
    grid of the labels. A video shorter than one snippet is repeated from its start.

    Args:
        num_frames: Frames of the video (F), at least 1.
        num_snippets: Snippets per video (N), at least 1; a single one is centred.
        frames_per_snippet: Frames per snippet (T), at least 1.
        frame_stride: Distance of neighbouring frames of a snippet, at least 1; the release has 1.

    Raises:
        ValueError: If an argument is below 1.

    Example:
        >>> official_snippets(8, num_snippets=2, frames_per_snippet=6)
        tensor([[0, 1, 2, 3, 4, 5],
                [2, 3, 4, 5, 6, 7]])
    """
    _check(num_frames, num_snippets, frames_per_snippet, frame_stride)
    room = max(num_frames - frames_per_snippet * frame_stride, 0)
    if num_snippets == 1:
        start = torch.tensor([room // 2])
    else:
        spacing = room / (num_snippets - 1)
        # Halves are rounded to even, as in the release.
        start = (torch.arange(num_snippets, dtype=torch.float64) * spacing).round().long()
    return (start[:, None] + torch.arange(frames_per_snippet) * frame_stride) % num_frames


PLACEMENTS: Mapping[str, Placement] = {"centred": centred_snippets, "official": official_snippets}


def _check(num_frames: int, num_snippets: int, frames_per_snippet: int, frame_stride: int) -> None:
    arguments = {
        "num_frames": num_frames,
        "num_snippets": num_snippets,
        "frames_per_snippet": frames_per_snippet,
        "frame_stride": frame_stride,
    }
    for name, value in arguments.items():
        if value < 1:
            raise ValueError(f"snippets({name}={value}): expected at least 1, got {value}.")
