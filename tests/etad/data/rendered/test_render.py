"""The rendered set."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from examples.etad.data.annotations.activitynet import class_names, load_annotations
from examples.etad.data.rendered import render as render_module
from examples.etad.data.rendered.render import CLASSES, DatasetFiles, render_dataset
from examples.etad.data.video.decoding import decode_frames, probe

render = partial(
    render_dataset,
    seed=0,
    num_training=6,
    num_validation=2,
    num_frames=64,
    frame_size=16,
    progress=False,
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> DatasetFiles:
    return render(tmp_path_factory.mktemp("rendered") / "set")


def bytes_of(files: DatasetFiles) -> dict[str, bytes]:
    paths = [files.annotation_path, *sorted(files.video_folder.iterdir())]
    return {path.name: path.read_bytes() for path in paths}


def test_set_is_read_as_any_other(rendered: DatasetFiles) -> None:
    load = partial(load_annotations, rendered.annotation_path, video_folder=rendered.video_folder)
    training, validation = load(subset="training"), load(subset="validation")
    assert (len(training), len(validation)) == (6, 2)
    assert set(class_names(rendered.annotation_path)) <= set(CLASSES)
    for video in [*training, *validation]:
        info = probe(video.path)
        assert (info.num_frames, info.height, info.width) == (64, 16, 16)
        assert info.duration_s == pytest.approx(video.duration_s) == 64 / 25


def test_same_seed_same_bytes_and_another_seed_others(
    rendered: DatasetFiles, tmp_path: Path
) -> None:
    assert bytes_of(render(tmp_path / "again")) == bytes_of(rendered)
    other = bytes_of(render(tmp_path / "other", seed=1))
    assert all(other[name] != content for name, content in bytes_of(rendered).items())


def test_video_does_not_depend_on_how_many_there_are(
    rendered: DatasetFiles, tmp_path: Path
) -> None:
    small = bytes_of(render(tmp_path / "small", num_training=2, num_validation=1))
    large = bytes_of(rendered)
    assert all(large[name] == small[name] for name in small if name.endswith(".mp4"))


def test_subsets_share_no_video(rendered: DatasetFiles) -> None:
    first, second = (
        decode_frames(rendered.video_folder / f"{subset}_000.mp4", torch.tensor([0]), size=(16, 16))
        for subset in ("training", "validation")
    )
    assert not first.equal(second)


def test_finished_set_is_used_again(rendered: DatasetFiles) -> None:
    folder = rendered.annotation_path.parent
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert render(folder) == rendered
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_set_with_other_parameters_is_refused(
    rendered: DatasetFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = rendered.annotation_path.parent
    with pytest.raises(
        ValueError, match=r"rendered with \{'seed': 5\}, got one with \{'seed': 0\}. Choose another"
    ):
        render(folder, seed=5)
    monkeypatch.setattr(render_module, "_RENDERER_VERSION", -1)
    with pytest.raises(ValueError, match="'renderer_version': -1"):
        render(folder)


def write_nothing(folder: Path) -> None:
    del folder


def write_other_annotations(folder: Path) -> None:
    (folder / "annotations.json").write_text(json.dumps({"database": {}}))


def write_text(folder: Path) -> None:
    (folder / "annotations.json").write_text("none")


@pytest.mark.parametrize("fill", [write_nothing, write_other_annotations, write_text])
def test_folder_of_something_else_is_refused_and_left(
    tmp_path: Path, fill: Callable[[Path], None]
) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    fill(tmp_path)
    with pytest.raises(ValueError, match=r"that holds something else\. Choose another one"):
        render(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_interrupted_rendering_leaves_no_set_and_is_started_anew(
    rendered: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def write_and_break(path: Path, frames: torch.Tensor, *, frames_per_second: int) -> None:
        del frames, frames_per_second
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        path.write_text("half")

    with monkeypatch.context() as patch:
        patch.setattr(render_module, "write_video", write_and_break)
        with pytest.raises(KeyboardInterrupt):
            render(tmp_path / "set")
    assert not (tmp_path / "set").exists()
    assert bytes_of(render(tmp_path / "set")) == bytes_of(rendered)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("num_training", -1, "at least 0"),
        ("num_validation", -1, "at least 0"),
        ("num_frames", 31, "at least 32"),
        ("frame_size", 14, "at least 16"),
        ("frame_size", 17, "an even number"),
        ("frames_per_second", 0, "at least 1"),
    ],
)
def test_bad_number_is_refused(tmp_path: Path, name: str, value: int, expected: str) -> None:
    with pytest.raises(ValueError, match=rf"render_dataset\({name}={value}\): expected {expected}"):
        render(tmp_path / "set", **{name: value})
    assert not list(tmp_path.iterdir())


def test_progress_is_shown_if_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    render(tmp_path / "set", num_training=1, num_validation=0, progress=True)
    assert "render" in capsys.readouterr().err
