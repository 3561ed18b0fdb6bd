from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from examples.etad.data.video import decoding
from examples.etad.data.video.decoding import decode_frames, probe
from examples.etad.data.video.frame_times import Timeline

NUM_FRAMES = 40
CONTAINERS = pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx"),
        ("a.avi", "mpeg4"),
        ("a.mov", "mpeg4"),
    ],
)


def write_video(
    path: Path,
    *,
    num_frames: int = NUM_FRAMES,
    codec: str = "libx264",
    movflags: str = "",
    noise: bool = False,
    rotation: int = 0,
    times_ms: Sequence[int] | None = None,
) -> Path:
    """Write 48 x 64 pixels at 25 frames per second; frame i has the gray level 6 i."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    options = {"movflags": movflags} if movflags else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = 4_000_000  # At the default, MPEG-4 shows some frames twice.
        # Frames are then stored in another order than they are shown.
        stream.codec_context.max_b_frames = 0 if codec == "libvpx" else 2
        if rotation:
            stream.set_display_rotation(rotation)
        if times_ms:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(num_frames):
            pixels[:] = 6 * number
            if noise:
                pixels[::2, ::2] = 255 - pixels[::2, ::2]
                pixels[(number * 7) % 48, :, 0] = 200
            if rotation:
                pixels[:24, :32] = (255, 0, 0)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times_ms:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers_of(frames: torch.Tensor) -> list[int]:
    """Read the frame numbers off the gray levels."""
    return (frames.float().mean(dim=(1, 2, 3)) / 6).round().long().tolist()


@pytest.fixture(scope="module")
def gray(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "gray.mp4")


@CONTAINERS
def test_length_and_every_frame_in_order(tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(tmp_path / name, codec=codec)
    info = probe(path)
    assert (info.num_frames, info.height, info.width) == (NUM_FRAMES, 48, 64)
    assert info.frames_per_second == pytest.approx(25)
    assert info.duration_s == pytest.approx(NUM_FRAMES / 25)
    frames = decode_frames(path, torch.arange(NUM_FRAMES), size=(12, 16))
    assert frames.dtype == torch.uint8
    assert frames.shape == (NUM_FRAMES, 3, 12, 16)
    assert numbers_of(frames) == list(range(NUM_FRAMES))


def test_frames_are_counted_where_the_container_does_not_announce_them(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", num_frames=7)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
    assert probe(path).num_frames == 7


def test_video_of_one_frame_lasts_one_frame(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "a.mp4", num_frames=1))
    assert info.num_frames == 1
    assert info.duration_s == pytest.approx(1 / 25)


def test_index_may_repeat_and_be_unordered(gray: Path) -> None:
    index = torch.tensor([31, 4, 4, 39, 0, 31])
    assert numbers_of(decode_frames(gray, index, size=(8, 8))) == index.tolist()


def test_empty_index_gives_no_frames(gray: Path) -> None:
    index = torch.zeros(0, dtype=torch.int64)
    assert decode_frames(gray, index, size=(8, 6)).shape == (0, 3, 8, 6)


def test_number_of_threads_does_not_change_the_frames(gray: Path) -> None:
    one, two = (
        decode_frames(gray, torch.arange(NUM_FRAMES), size=(48, 64), num_threads=count)
        for count in (1, 2)
    )
    assert torch.equal(one, two)


def test_size_is_height_and_width(gray: Path) -> None:
    assert decode_frames(gray, torch.tensor([0]), size=(10, 20)).shape == (1, 3, 10, 20)


def test_channels_are_red_green_blue_and_the_rotation_is_applied(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "a.mp4", num_frames=3, rotation=0)
    turned = write_video(tmp_path / "b.mp4", num_frames=3, rotation=90)
    assert numbers_of(decode_frames(plain, torch.tensor([2]), size=(48, 64))) == [2]
    frame = decode_frames(turned, torch.tensor([0]), size=(64, 48))[0]
    # Stored at the top left; a quarter turn anticlockwise brings it to the bottom left.
    assert frame[0, 40:60, 4:20].min() > 220
    assert frame[1:, 40:60, 4:20].max() < 40
    assert frame[:, 4:28].max() < 40
    assert frame[:, :, 28:].max() < 40


def test_variable_frame_rate_keeps_index_and_time_together(tmp_path: Path) -> None:
    # Ten equal parts of 1 s; the third frame stays for 700 ms.
    times_ms = [0, 100, 200, 900, 910, 920, 930, 940, 950, 960]
    path = write_video(tmp_path / "a.mp4", num_frames=10, times_ms=times_ms)
    info = probe(path)
    assert info.num_frames == 10
    assert info.duration_s == pytest.approx(1, abs=0.05)
    frames = decode_frames(path, torch.arange(10), size=(8, 8))
    middles_ms = [1000 * info.duration_s * (part + 0.5) / 10 for part in range(10)]
    expected = [max(n for n, t in enumerate(times_ms) if t <= middle) for middle in middles_ms]
    assert numbers_of(frames) == expected
    assert expected[2:8] == [2] * 6


def test_video_that_starts_late_is_counted_from_its_first_frame(tmp_path: Path) -> None:
    times_ms = [5000 + 40 * number for number in range(20)]
    path = write_video(tmp_path / "a.mkv", num_frames=20, times_ms=times_ms)
    assert probe(path).duration_s == pytest.approx(0.8, abs=0.01)
    assert numbers_of(decode_frames(path, torch.arange(20), size=(8, 8))) == list(range(20))


def test_cut_without_decoding_counts_the_frames_that_are_shown(tmp_path: Path) -> None:
    """An edit list hides what precedes the cut; the packets stay in the file."""
    path = tmp_path / "cut.mp4"
    with (
        av.open(str(write_video(tmp_path / "whole.mp4"))) as source,
        av.open(str(path), "w") as container,
    ):
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                shift = int(Fraction(10, 25) / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = stream
                container.mux(packet)
    with av.open(str(path)) as container:
        decoded = sum(1 for _ in container.decode(video=0))
    num_frames = probe(path).num_frames
    assert num_frames == decoded
    numbers = numbers_of(decode_frames(path, torch.arange(num_frames), size=(8, 8)))
    assert numbers == list(range(NUM_FRAMES - num_frames, NUM_FRAMES))


def test_stream_without_times_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "raw.h264")
    with pytest.raises(ValueError, match=r"raw.h264': expected a time for every frame, got 0"):
        probe(path)


def test_file_that_ends_early_while_decoding_is_named(
    gray: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = Timeline(
        path=gray,
        first=0,
        last=79 * 512,
        end=80 * 512,
        time_base=Fraction(1, 12_800),
        num_frames=80,
    )
    monkeypatch.setattr(decoding, "read_timeline", lambda path: longer)
    with pytest.raises(ValueError, match=r"gray.mp4': expected 80 frames, but decoding ended befo"):
        decode_frames(gray, torch.arange(80), size=(8, 8))


def test_file_whose_frames_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    path = tmp_path / "headless.mkv"
    with (
        av.open(str(write_video(tmp_path / "whole.mkv"))) as source,
        av.open(str(path), "w") as container,
    ):
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None and not packet.is_keyframe:
                packet.stream = stream
                container.mux(packet)
    with pytest.raises(
        ValueError, match=r"headless.mkv': (expected \d+ frames, none can be decoded)"
    ):
        probe(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.mp4"
    with pytest.raises(
        FileNotFoundError, match=r"none.mp4': there is no such file. Check the path"
    ):
        probe(path)
    with pytest.raises(FileNotFoundError, match=r"none.mp4': there is no such file"):
        decode_frames(path, torch.tensor([0]), size=(8, 8))


@pytest.mark.parametrize(
    "content", [b"", b"This is text, not video.\n" * 50], ids=["empty", "text"]
)
def test_file_that_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"bad.mp4': cannot be decoded \(.+\). .*fetch or convert it again"
    ):
        probe(path)
    with pytest.raises(ValueError, match=r"bad.mp4': cannot be decoded"):
        decode_frames(path, torch.tensor([0]), size=(8, 8))


def test_file_without_video_stream_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = np.zeros((1, 800), np.int16)
        frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=r"sound.mkv': expected a video stream, got none"):
        probe(path)


@pytest.mark.parametrize("movflags", ["", "faststart"], ids=["index at the end", "index first"])
def test_truncated_file_is_named(tmp_path: Path, movflags: str) -> None:
    path = write_video(tmp_path / "cut.mp4", movflags=movflags, noise=True)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(ValueError, match=r"cut.mp4': (cannot be decoded|expected 40 frames)"):
        probe(path)
    with pytest.raises(ValueError, match=r"cut.mp4': .*fetch or convert it again"):
        decode_frames(path, torch.arange(NUM_FRAMES), size=(8, 8))


def test_truncated_file_with_its_index_first_says_how_much_is_there(tmp_path: Path) -> None:
    path = write_video(tmp_path / "cut.mp4", movflags="faststart", noise=True)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(ValueError, match=r"expected 40 frames, as its header says, got \d+"):
        probe(path)


def test_video_without_frames_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "cut.mkv", noise=True)
    content = path.read_bytes()
    # The stream is described before the first frame.
    path.write_bytes(content[: content.index(b"\x1f\x43\xb6\x75")])
    with pytest.raises(ValueError, match=r"cut.mkv': cannot be decoded"):
        probe(path)


def test_frame_after_the_end_is_refused(gray: Path) -> None:
    with pytest.raises(
        ValueError, match=r"expected numbers in \[0, 40\), the frames of .*gray.mp4', got 3 to 40"
    ):
        decode_frames(gray, torch.tensor([3, 40]), size=(8, 8))


def test_negative_frame_is_refused(gray: Path) -> None:
    with pytest.raises(
        ValueError, match=r"decode_frames\(index=...\): expected numbers in \[0, 40\).* got -1 to 3"
    ):
        decode_frames(gray, torch.tensor([3, -1]), size=(8, 8))


def test_decoded_frame_without_a_time_is_refused() -> None:
    timeline = Timeline(Path("odd.avi"), 0, 9, 10, Fraction(1, 10), 10)
    with pytest.raises(ValueError, match=r"odd.avi': expected a time for every frame, but the dec"):
        timeline.position(av.VideoFrame(16, 16, "rgb24"))
