"""Writing frames to a video file with PyAV."""

from pathlib import Path

import av
from av.codec.context import Flags
from jaxtyping import UInt8
from torch import Tensor

# No picture is predicted from another, nor is quality moved between them: a decoded frame is a
# function of the drawn one alone, so that coding errors do not tell a single frame what moves.
_OPTIONS = {"qp": "14", "g": "1", "preset": "veryfast"}


def write_video(
    path: Path,
    frames: UInt8[Tensor, "frames channels height width"],
    *,
    frames_per_second: int,
) -> None:
    """Write RGB frames as H.264, nearly lossless, and the same bytes every time.

    Args:
        path: The file to write; its suffix chooses the container.
        frames: RGB, of even height and width.
        frames_per_second: Frame rate.
    """
    # Without "bitexact" the file names the version of FFmpeg.
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=frames_per_second, options=_OPTIONS)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[2:], "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= Flags.bitexact
        for frame in frames.permute(0, 2, 3, 1).contiguous().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
