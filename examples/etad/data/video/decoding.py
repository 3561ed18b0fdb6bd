"""Reading frames of a video file with PyAV, whose wheels bundle FFmpeg."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from jaxtyping import Int, UInt8
from torch import Tensor

from examples.etad.data.video.frame_times import Timeline, open_video, read_timeline


@dataclass(frozen=True)
class VideoInfo:
    """Size and length of a video, measured on its frames because headers can be wrong.

    Args:
        num_frames: Number of frames.
        frames_per_second: Frame rate; the average if it varies.
        duration_s: From the start of the first frame to the end of the last, in seconds. A longer
            sound track does not count.
        height: Of the upright picture, in pixels.
        width: Of the upright picture, in pixels.
    """

    num_frames: int
    frames_per_second: float
    duration_s: float
    height: int
    width: int


def probe(path: Path) -> VideoInfo:
    """Measure a video file; decodes no more than its first frame.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no readable video, or lacks frames that its header announces.
    """
    path = Path(path)
    timeline = read_timeline(path)
    with open_video(path) as (container, stream):
        picture = next(container.decode(stream), None)
    if picture is None:
        raise ValueError(
            f"video {str(path)!r}: expected {timeline.num_frames} frames, none can be decoded. "
            "Fetch or convert it again."
        )
    height, width = picture.height, picture.width
    if picture.rotation % 180:
        height, width = width, height
    return VideoInfo(
        num_frames=timeline.num_frames,
        frames_per_second=float(timeline.num_frames / timeline.duration_s),
        duration_s=float(timeline.duration_s),
        height=height,
        width=width,
    )


def decode_frames(
    path: Path, index: Int[Tensor, " count"], *, size: tuple[int, int], num_threads: int = 1
) -> UInt8[Tensor, "count channels height width"]:
    """Return some frames of a video, scaled, as RGB.

    Args:
        path: The video file.
        index: Numbers of frames, in any order and repeated at will, in [0, `num_frames`).
        size: (height, width) to scale to, without regard to the aspect ratio.
        num_threads: Threads of the decoder; 1 is best in the workers of a data loader. Does not
            change the result.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be decoded to the last frame asked for, or has no such frame.
    """
    wanted, position = index.unique(return_inverse=True)
    frames = torch.empty(len(wanted), 3, *size, dtype=torch.uint8)
    for number, frame in enumerate(
        iterate_frames(path, wanted, size=size, num_threads=num_threads)
    ):
        frames[number] = frame
    # A sorted index without repeats needs no copy, which would be many megabytes.
    return frames if wanted.equal(index) else frames[position]


def iterate_frames(
    path: Path, wanted: Int[Tensor, " count"], *, size: tuple[int, int], num_threads: int = 1
) -> Iterator[UInt8[Tensor, "channels height width"]]:
    """Yield some frames of a video, scaled, as RGB; decodes up to the frame that is yielded.

    Decodes once from the start to the last of these frames and scales each at once, so only a few
    pictures are in memory.

    Frame n is the one on display in the middle of the n-th of `num_frames` equal parts of the
    duration. At a constant frame rate that is the n-th frame. At a variable rate, number and time
    still correspond, and a frame can be repeated or skipped.

    Args:
        path: The video file.
        wanted: Numbers of frames, ascending and distinct.
        size: (height, width) to scale to, without regard to the aspect ratio.
        num_threads: Threads of the decoder. Does not change the result.

    Raises:
        FileNotFoundError: If there is no such file; raised at the first frame.
        ValueError: If a frame does not exist or cannot be decoded; raised at that frame.
    """
    path = Path(path)
    timeline = read_timeline(path)
    if len(wanted) and not 0 <= int(wanted[0]) <= int(wanted[-1]) < timeline.num_frames:
        raise ValueError(
            f"decode_frames(index=...): expected numbers in [0, {timeline.num_frames}), the frames "
            f"of {str(path)!r}, got {int(wanted[0])} to {int(wanted[-1])}."
        )
    count = 0
    with open_video(path, num_threads=num_threads) as (container, stream):
        reformatter = VideoReformatter()
        pictures = _on_display(container.decode(stream), wanted.tolist(), timeline)
        for picture in pictures:
            yield _to_rgb(picture, reformatter, size=size)
            count += 1
    if count < len(wanted):
        raise ValueError(
            f"video {str(path)!r}: expected {timeline.num_frames} frames, but decoding ended "
            f"before frame {int(wanted[count])}. The file is damaged or incomplete: fetch or "
            "convert it again."
        )


def _on_display(
    pictures: Iterable[VideoFrame], wanted: list[int], timeline: Timeline
) -> Iterator[VideoFrame]:
    """Yield the picture on display in the middle of each wanted interval, in order."""
    waiting = iter(wanted)
    number = next(waiting, None)
    shown: VideoFrame | None = None
    for picture in pictures:
        position = timeline.position(picture)
        while number is not None and shown is not None and number + Fraction(1, 2) < position:
            yield shown
            number = next(waiting, None)
        if number is None:
            return
        shown = picture
    # The last picture stays on display to the end, unless decoding broke off before it.
    if shown is not None and timeline.position(shown) >= timeline.last_position:
        while number is not None:
            yield shown
            number = next(waiting, None)


def _to_rgb(
    picture: VideoFrame, reformatter: VideoReformatter, *, size: tuple[int, int]
) -> UInt8[Tensor, "channels height width"]:
    """Scale a picture and turn it upright: phones store pictures as the sensor is mounted."""
    height, width = size[::-1] if picture.rotation % 180 else size
    rgb = reformatter.reformat(picture, width, height, "rgb24", interpolation="BILINEAR")
    pixels = torch.from_numpy(rgb.to_ndarray()).permute(2, 0, 1)
    return pixels.rot90(round(picture.rotation / 90), dims=(1, 2))
