"""The three commands on a tiny rendered set."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from examples.etad import detect, evaluate, train
from examples.etad.encoders.build import ENCODERS
from examples.etad.encoders.normalise import IMAGENET, Normalise
from examples.etad.encoders.staged import Mean, StagedEncoder
from examples.etad.end_to_end import ETAD
from examples.etad.settings.loading import load_config, override
from examples.etad.training.checkpoint import load_checkpoint
from examples.etad.training.loop import Run
from tests.etad.tiny_run import SETTINGS, main, start

# For what costs time per layer, not per run.
SMALL = [
    "data.num_snippets=4",
    "detector.tiou_thresholds=[0.7]",
    "detector.start_end_heads=joint",
    "detector.stage_conv=false",
    "train.epochs=1",
]


def pooled_colours() -> StagedEncoder:
    project = nn.Linear(3, 16)
    parts = {"normalise": Normalise(IMAGENET), "pool": Mean(2, 3, 4), "project": project}
    return StagedEncoder(parts, feature_channels=16)


@pytest.fixture(scope="module")
def finished(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    start(folder, videos)
    return folder


def test_run_writes_checkpoint_tables_and_pictures(finished: Path) -> None:
    checkpoint = load_checkpoint(finished / "checkpoint.pt")
    written = {path.name for path in finished.iterdir()}
    tables = {"config.json", "results.md", "results.json", "detections.json"}
    assert {"checkpoint.pt", *tables} <= written
    assert {"map.png", "training.png", "timeline_validation_000.png"} <= written
    results = json.loads((finished / "results.json").read_text())
    assert results["class-agnostic"]["num_videos"] == 2
    assert len(results["per class"]["map_per_tiou"]) == 10
    assert checkpoint["epoch"] == 2
    assert [row["step"] for row in checkpoint["history"]] == [2, 4]


def test_resumed_run_ends_as_if_it_had_not_been_interrupted(
    finished: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_checkpoint(finished / "checkpoint.pt")
    original = Run.train_epoch

    def fails_in_second_epoch(self: Run, progress: Any) -> dict[str, float]:
        if self.epoch == 1:
            raise KeyboardInterrupt
        return original(self, progress)

    monkeypatch.setattr(Run, "train_epoch", fails_in_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, videos)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["epoch"] == 1
    monkeypatch.setattr(Run, "train_epoch", original)
    main(train, "--output", str(tmp_path), "--resume")
    resumed = load_checkpoint(tmp_path / "checkpoint.pt")
    for name, weight in whole["model"].items():
        assert torch.equal(resumed["model"][name], weight), name
    assert [row["loss"] for row in resumed["history"]] == [row["loss"] for row in whole["history"]]


def test_another_seed_gives_another_model(finished: Path, videos: Path, tmp_path: Path) -> None:
    """The negative control of the test above: seeds, not luck, make two runs equal."""
    first = load_checkpoint(finished / "checkpoint.pt")["model"]
    second = start(tmp_path, videos, "train.seed=1")["model"]
    name = "encode.encoder.project.weight"
    assert not torch.equal(first[name], second[name])


def test_frozen_encoder_keeps_its_weights(videos: Path, tmp_path: Path) -> None:
    trained = start(tmp_path, videos, "encoder.frozen=true")["model"]
    torch.manual_seed(0)
    initial = ETAD(override(load_config(train.DEFAULT_CONFIG), SETTINGS)).state_dict()
    encoder = [name for name in initial if name.startswith("encode.")]
    assert encoder
    assert all(torch.equal(trained[name], initial[name]) for name in encoder)
    assert any(not torch.equal(trained[n], initial[n]) for n in initial if n not in encoder)


def test_published_encoder_trains_above_its_frozen_stages(videos: Path, tmp_path: Path) -> None:
    published = ["encoder.name=resnet50_tsm", "encoder.channels=0", "encoder.frozen_stages=2"]
    published += SMALL
    trained = start(tmp_path, videos, *published)["model"]
    torch.manual_seed(0)
    config = override(load_config(train.DEFAULT_CONFIG), [*SETTINGS, *published])
    initial = ETAD(config).encode.encoder
    after = {name: trained[f"encode.encoder.{name}"] for name, _ in initial.named_parameters()}
    changed = {n.split(".")[0] for n, p in initial.named_parameters() if not after[n].equal(p)}
    assert changed == {"layer3", "layer4"}


def test_memory_budget_chooses_the_sizes(videos: Path, tmp_path: Path) -> None:
    saved = start(tmp_path, videos, *SMALL, "encoder.memory_budget=64MiB")
    assert saved["config"]["encoder"]["memory_budget"] == "64MiB"
    with pytest.raises(ValueError, match=r"a step takes .* with micro-batches of one item"):
        start(tmp_path / "small", videos, *SMALL, "encoder.memory_budget=100kB")


def test_dry_run_tells_what_a_step_takes_and_trains_nothing(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"data.render_folder={videos}", *SETTINGS, *SMALL]
    given = [x for s in settings for x in ("--set", s)]
    main(train, "--output", str(tmp_path / "new"), "--dry-run", *given)
    fixed = capsys.readouterr().out
    assert "1 epochs of 2 steps, each of 2 videos x 4 snippets x 4 frames of 16 x 16" in fixed
    assert "encoder.micro_batch_size=16 encoder.forward_micro_batch_size=64" in fixed
    assert "sgs, 8 items (estimated)" in fixed
    assert "naive: " in fixed
    main(train, "--output", str(tmp_path / "new"), "--dry-run", "--memory-budget", "1GiB", *given)
    chosen = capsys.readouterr().out
    # All sampled snippets keep their graph: nothing is repeated.
    assert "encoder.micro_batch_size=2 encoder.forward_micro_batch_size=8" in chosen
    assert "encoder.kept_graphs=1" in chosen
    assert not (tmp_path / "new").exists()


def test_finished_run_is_not_overwritten(finished: Path, videos: Path) -> None:
    with pytest.raises(SystemExit, match=r"exists already. Pass --resume to continue, or another"):
        start(finished, videos)


def test_settings_cannot_change_when_resuming(finished: Path) -> None:
    with pytest.raises(
        SystemExit, match=r"--resume keeps the settings of the run. Leave out --set"
    ):
        main(train, "--output", str(finished), "--resume", "--set", "train.epochs=9")


def test_classes_that_do_not_fit_are_refused(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"detector.num_classes=3: the annotations have 4 classes"):
        start(tmp_path, videos, "detector.num_classes=3")


def test_class_agnostic_detector_is_evaluated_without_labels(videos: Path, tmp_path: Path) -> None:
    start(tmp_path, videos, "detector.num_classes=0", "proposals.sampler=iou_balanced")
    assert list(json.loads((tmp_path / "results.json").read_text())) == ["class-agnostic"]
    detections = json.loads((tmp_path / "detections.json").read_text())["results"]
    assert {row["label"] for rows in detections.values() for row in rows} <= {"action"}


def test_other_choices_run(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a CPU the gradient of a 3-D convolution's weight is sometimes NaN in bfloat16, in plain
    # PyTorch: this encoder has none.
    monkeypatch.setitem(ENCODERS, "pooled_colours", lambda *_: pooled_colours())
    start(
        tmp_path,
        videos,
        "encoder.name=pooled_colours",
        "encoder.sampler=dpp",
        "proposals.sampler=farthest_point",
        "proposals.evaluation_ratio=0.2",
        "train.schedule=step",
        "train.step_epochs=1",
        "train.precision=bfloat16",
        "train.evaluate_every=1",
    )
    history = load_checkpoint(tmp_path / "checkpoint.pt")["history"]
    assert [0 <= row["average_map"] <= 1 for row in history] == [True, True]


def test_own_annotations_train_and_a_broken_file_is_named_before_the_first_step(
    videos: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(videos, own)
    paths = [f"data.annotation_path={own / 'annotations.json'}"]
    paths += [f"data.video_folder={own / 'videos'}", "train.epochs=1"]
    start(tmp_path / "good", videos, *paths)
    broken = own / "videos" / "training_001.mp4"
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"training_001\.mp4"):
        start(tmp_path / "bad", videos, *paths)
    assert not (tmp_path / "bad" / "checkpoint.pt").exists()


def test_evaluate_repeats_the_result_of_the_run(finished: Path, tmp_path: Path) -> None:
    arguments = [str(finished / "checkpoint.pt"), "--output", str(tmp_path)]
    main(evaluate, *arguments)
    first, second = (
        json.loads((folder / "results.json").read_text()) for folder in (finished, tmp_path)
    )
    assert first == second
    main(evaluate, *arguments, "--untrained")
    assert json.loads((tmp_path / "results.json").read_text()) != first


def test_detect_writes_segments_and_a_picture(
    finished: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "holiday.mp4"
    shutil.copy(next(videos.rglob("validation_000.mp4")), video)
    checkpoint = str(finished / "checkpoint.pt")
    main(detect, str(video), "--checkpoint", checkpoint, "--output", str(tmp_path), "--top", "3")
    result = json.loads((tmp_path / "holiday.json").read_text())
    assert 0 < len(result["segments"]) <= 3
    for row in result["segments"]:
        assert 0 <= row["start_s"] < row["end_s"] <= result["duration_s"]
    assert (tmp_path / "holiday.png").stat().st_size > 1000
    assert "score  label" in capsys.readouterr().out


def test_detect_names_a_file_that_is_no_video(finished: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    with pytest.raises(ValueError, match=r"notes\.mp4"):
        main(detect, str(text), "--checkpoint", str(finished / "checkpoint.pt"))
