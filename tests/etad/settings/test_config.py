import dataclasses
from pathlib import Path

import pytest

from examples.etad.detectors.etad.config import PRESETS as DETECTORS
from examples.etad.settings.config import Config
from examples.etad.settings.loading import config_from, load_config, override, to_dict

FOLDER = Path(__file__).parents[3] / "examples/etad/configs"


def write(path: Path, text: str) -> Path:
    file = path / "config.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_configurations_load(path: Path) -> None:
    assert isinstance(load_config(path), Config)


def test_file_changes_the_defaults_and_overrides_change_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[train]\nepochs = 3\nbatch_size = 2\n")
    config = load_config(path, ["train.epochs=5", "encoder.sampler=grid", "encoder.ratio=1"])
    assert (config.train.epochs, config.train.batch_size) == (5, 2)
    assert config.encoder.sampler == "grid"
    assert config.encoder.ratio == 1.0
    assert config.train.seed == Config().train.seed


def test_preset_is_where_the_file_starts(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, 'preset = "paper"\n[detector]\nnum_classes = 3\n'))
    assert config.detector == dataclasses.replace(DETECTORS["paper"], num_classes=3)
    assert config.postprocess.score == "boundary_iou"


def test_settings_survive_the_way_through_a_checkpoint() -> None:
    config = override(Config(), ["detector.tiou_thresholds=[0.5, 0.6]", "data.cache=true"])
    assert config.detector.tiou_thresholds == (0.5, 0.6)
    assert config_from(to_dict(config)) == config


ERRORS = [
    ("train.epoch=3", r"train.epoch: unknown key. Did you mean epochs"),
    ("trian.epochs=3", r"trian: unknown key. Did you mean train"),
    ("epochs=3", r"--set epochs=3: expected section.key=value"),
    ("train.epochs", r"--set train.epochs: expected section.key=value"),
    ("train.epochs=many", r"train.epochs='many': expected int"),
    ("train.epochs=1.5", r"train.epochs=1.5: expected int"),
    ("train.epochs=true", r"train.epochs=True: expected int"),
    ("encoder.ratio=true", r"encoder.ratio=True: expected float"),
    ("train.schedule=linear", r"train.schedule='linear': expected Literal\['cosine', 'step'\]"),
    ("detector.tiou_thresholds=0.5", r"detector.tiou_thresholds=0.5: expected tuple"),
    ("train.clip_norm=-1.0", r"clip_norm=-1.0\): expected a finite number of at least 0"),
    ("train.clip_norm=nan", r"clip_norm=nan\): expected a finite"),
    ("train.encoder_learning_rate=inf", r"encoder_learning_rate=inf\): expected a finite"),
    ("preset=paper", r"--set preset=paper: expected section.key=value"),
]


@pytest.mark.parametrize(("assignment", "message"), ERRORS)
def test_bad_override_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(Config(), [assignment])


def test_unknown_preset_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 'preset = "released"\n')
    with pytest.raises(ValueError, match=r"preset='released': expected one of"):
        load_config(path)


def test_value_in_place_of_a_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train=3: expected a table of settings"):
        load_config(write(tmp_path, "train = 3\n"))


def test_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config.toml: not valid TOML"):
        load_config(write(tmp_path, "[train"))
