"""Reading the frames of all snippets of a video, each frame once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from examples.etad.data.annotations.activitynet import VideoAnnotation
from examples.etad.data.snippets.placement import PLACEMENTS
from examples.etad.data.video.decoding import decode_frames, iterate_frames, probe


class Pixels(Protocol):
    """The frames that occur in any snippet of a video, in order."""

    def __getitem__(
        self, position: Int[Tensor, " count"]
    ) -> UInt8[Tensor, "count channels height width"]:
        """Return some of them."""
        ...


class DecodedOnDemand:
    """Frames of a video file, decoded on first use and then kept.

    Args:
        path: The video file.
        frames: Their numbers, ascending and distinct.
        size: (height, width) to which they are scaled.
    """

    def __init__(
        self, path: Path, frames: Int[Tensor, " frames"], *, size: tuple[int, int]
    ) -> None:
        self._kept = torch.empty(len(frames), 3, *size, dtype=torch.uint8)
        self._decoder: Iterator[Tensor] = iterate_frames(path, frames, size=size)
        self.num_decoded = 0

    def __getitem__(
        self, position: Int[Tensor, " count"]
    ) -> UInt8[Tensor, "count channels height width"]:
        """Return some frames, after decoding up to the last of them.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be decoded that far.
        """
        while self.num_decoded <= int(position.max()):
            self._kept[self.num_decoded] = next(self._decoder)
            self.num_decoded += 1
        return self._kept[position]


@dataclass(frozen=True)
class Clip:
    """Each frame once, and its positions in the snippets; overlapping snippets share frames.

    Args:
        pixels: The frames that occur in any snippet, in order.
        index: Position in `pixels` of each frame of each snippet.
    """

    pixels: Pixels
    index: Int[Tensor, "snippets frames"]


@dataclass(frozen=True)
class ClipReader:
    """Reads videos as snippets.

    Args:
        num_snippets: Snippets per video (N), at least 1.
        frames_per_snippet: Frames per snippet (T), at least 1.
        frame_stride: Distance of neighbouring frames of a snippet, at least 1.
        placement: Which frames make up a snippet; one of `PLACEMENTS`.
        size: (height, width) to which frames are scaled.
        duration_tolerance: Largest difference between the duration of a file and that of its
            annotation, as a fraction of the latter.

    Raises:
        ValueError: If the placement is unknown, or a number is below 1.
    """

    num_snippets: int
    frames_per_snippet: int
    frame_stride: int
    placement: str
    size: tuple[int, int]
    duration_tolerance: float

    def __post_init__(self) -> None:
        if self.placement not in PLACEMENTS:
            raise ValueError(
                f"VideoDataset(placement={self.placement!r}): expected one of "
                f"{', '.join(map(repr, PLACEMENTS))}."
            )
        # Raises now, not at the first video.
        self.frames_of(1)

    def frames_of(self, num_frames: int) -> Int[Tensor, "snippets frames"]:
        """Return which frames of a video of this length make up its snippets."""
        return PLACEMENTS[self.placement](
            num_frames,
            num_snippets=self.num_snippets,
            frames_per_snippet=self.frames_per_snippet,
            frame_stride=self.frame_stride,
        )

    def read_annotated(self, annotation: VideoAnnotation, *, on_demand: bool = False) -> Clip:
        """Decode the snippets of a video after checking that its annotation fits it.

        Args:
            annotation: The video.
            on_demand: Whether to decode frames on first use instead of now.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be decoded, or is longer or shorter than annotated.
        """
        info = probe(annotation.path)
        gap_s = abs(info.duration_s - annotation.duration_s)
        if gap_s > self.duration_tolerance * annotation.duration_s:
            raise ValueError(
                f"video {str(annotation.path)!r}: expected {annotation.duration_s:g} s, as "
                f"annotated, got {info.duration_s:g} s. Instances would be misplaced. Correct the "
                "duration in the annotation file, fetch the video again, or raise "
                f"duration_tolerance={self.duration_tolerance:g}."
            )
        frames, index = self.frames_of(info.num_frames).unique(return_inverse=True)
        if on_demand:
            return Clip(DecodedOnDemand(annotation.path, frames, size=self.size), index)
        return Clip(decode_frames(annotation.path, frames, size=self.size), index)
