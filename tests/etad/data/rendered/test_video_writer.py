"""Writing videos."""

from pathlib import Path

import av
import pytest
import torch
from torch import Tensor

from examples.etad.data.rendered import video_writer
from examples.etad.data.rendered.video_writer import write_video
from examples.etad.data.video.decoding import decode_frames, probe


def smooth_frames(generator: torch.Generator, count: int = 24) -> Tensor:
    """Return frames that a codec keeps, each unlike the others."""
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(32, 48), mode="bilinear")
    return (255 * fine).to(torch.uint8)


def test_frames_come_back_in_order_with_little_error(
    tmp_path: Path, generator: torch.Generator
) -> None:
    frames = smooth_frames(generator)
    write_video(tmp_path / "a.mp4", frames, frames_per_second=10)
    info = probe(tmp_path / "a.mp4")
    assert (info.num_frames, info.frames_per_second, info.duration_s) == (24, 10.0, 2.4)
    decoded = decode_frames(tmp_path / "a.mp4", torch.arange(24), size=(32, 48))
    errors = (decoded[:, None].float() - frames[None].float()).abs().mean(dim=(2, 3, 4))
    assert errors.argmin(dim=1).tolist() == list(range(24))
    # Colours are stored at half the resolution; a neighbouring frame is much farther away.
    assert float(errors.diagonal().max()) < 8
    assert float(errors.diagonal(1).min()) > 30


def test_same_frames_same_bytes(tmp_path: Path, generator: torch.Generator) -> None:
    frames = smooth_frames(generator)
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames, frames_per_second=10)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content == (tmp_path / "b.mp4").read_bytes()
    # The name and version of the library that wrote a file, unless told not to.
    assert b"Lavf" not in content


def decode_in_motion(path: Path, generator: torch.Generator) -> list[Tensor]:
    """Decode one frame of a picture that moves to the right, and of one that moves to the left."""
    picture = smooth_frames(generator, 1)[0]
    decoded = []
    for speed in (2, -2):
        frames = torch.stack([picture.roll(speed * (i - 5), dims=2) for i in range(8)])
        write_video(path, frames, frames_per_second=10)
        decoded.append(decode_frames(path, torch.tensor([5]), size=(32, 48)))
    return decoded


def test_decoded_frame_does_not_tell_the_motion(tmp_path: Path, generator: torch.Generator) -> None:
    first, second = decode_in_motion(tmp_path / "a.mp4", generator)
    assert first.equal(second)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert all(frame.key_frame for frame in container.decode(video=0))


def test_decoded_frame_tells_the_motion_if_others_predict_it(
    tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_writer, "_OPTIONS", {"crf": "23", "g": "250"})
    first, second = decode_in_motion(tmp_path / "a.mp4", generator)
    assert not first.equal(second)
