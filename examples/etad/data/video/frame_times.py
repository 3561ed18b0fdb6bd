"""Opening a video file, and the times of its frames."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream


@contextmanager
def open_video(path: Path, *, num_threads: int = 1) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the first video stream; decoder errors inside the block name the file.

    Args:
        path: The video file.
        num_threads: Threads of the decoder.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be decoded, or has no video stream.
    """
    if not path.is_file():
        raise FileNotFoundError(f"video {str(path)!r}: there is no such file. Check the path.")
    try:
        with av.open(str(path)) as container:
            streams = [
                stream
                for stream in container.streams.video
                # Cover art of a sound file is a video stream too.
                if Disposition.attached_pic not in stream.disposition
            ]
            if not streams:
                raise ValueError(
                    f"video {str(path)!r}: expected a video stream, got none. The file holds "
                    "sound only, or is no video."
                )
            streams[0].codec_context.thread_count = num_threads
            yield container, streams[0]
    except av.FFmpegError as error:
        raise ValueError(
            f"video {str(path)!r}: cannot be decoded ({error.strerror}). The file is damaged, "
            "incomplete or no video: fetch or convert it again."
        ) from error


@dataclass(frozen=True)
class Timeline:
    """When the frames of a stream are on display, in its time base.

    Args:
        path: The file, for messages.
        first: Start of the first frame.
        last: Start of the last frame.
        end: End of the last frame.
        time_base: Seconds per unit.
        num_frames: Number of frames.
    """

    path: Path
    first: int
    last: int
    end: int
    time_base: Fraction
    num_frames: int

    @property
    def duration_s(self) -> Fraction:
        """Seconds from the start of the first frame to the end of the last."""
        return (self.end - self.first) * self.time_base

    def position(self, frame: VideoFrame) -> Fraction:
        """Return when a frame comes on display, in frames of constant rate.

        Raises:
            ValueError: If the decoder gave it no time.
        """
        if frame.pts is None:
            raise ValueError(
                f"video {str(self.path)!r}: expected a time for every frame, but the decoder gives "
                "none for one. Convert the file, e.g. with ffmpeg -i IN OUT.mp4."
            )
        return self._position(frame.pts)

    @property
    def last_position(self) -> Fraction:
        """When the last frame comes on display, in frames of constant rate."""
        return self._position(self.last)

    def _position(self, time: int) -> Fraction:
        return Fraction((time - self.first) * self.num_frames, self.end - self.first)


def read_timeline(path: Path) -> Timeline:
    """Read the times of all frames from the file, without decoding it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, lacks times, or lacks frames that its header announces.
    """
    with open_video(path) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.size]
        announced, time_base = stream.frames, stream.time_base
    if len(packets) < announced:
        raise ValueError(
            f"video {str(path)!r}: expected {announced} frames, as its header says, got "
            f"{len(packets)}. The file is incomplete: fetch or convert it again."
        )
    # An edit list makes the decoder drop frames, e.g. those before a cut.
    shown = [packet for packet in packets if not packet.is_discard]
    times = [packet.pts for packet in shown if packet.pts is not None]
    if not times or len(times) < len(shown) or time_base is None:
        raise ValueError(
            f"video {str(path)!r}: expected a time for every frame, got {len(times)} for "
            f"{len(shown)} frames. Convert the file, e.g. with ffmpeg -i IN OUT.mp4."
        )
    first, last = min(times), max(times)
    # If the container stores no durations, the last frame gets the average one.
    average = max(round((last - first) / max(len(times) - 1, 1)), 1)
    final = next(packet.duration for packet in shown if packet.pts == last)
    return Timeline(path, first, last, last + (final or average), time_base, len(times))
