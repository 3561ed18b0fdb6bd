"""Published weights under the names of others; the files are made here."""

import argparse
import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from examples.etad.detectors.etad.config import DetectorConfig
from examples.etad.encoders.pretrained import load_pretrained
from examples.etad.encoders.videomae import videomae
from examples.etad.end_to_end import ETAD
from examples.etad.settings.config import Config, DataConfig, EncoderConfig

State = dict[str, Tensor]


@pytest.fixture
def encoders(residual_encoders: dict[str, nn.Module]) -> dict[str, nn.Module]:
    return {**residual_encoders, "videomae": tiny_videomae()}


def tiny_videomae() -> nn.Module:
    return videomae(hidden_size=32, num_layers=3, num_heads=4, frames_per_snippet=4, frame_size=32)


def torchvision(name: str) -> str:
    return name.removeprefix("stem.")


def authors_tsm(name: str) -> str:
    shifted = re.sub(r"(layer\d\.\d+\.conv1)\.", r"\1.net.", torchvision(name))
    return f"module.base_model.{shifted}"


def mmaction(name: str) -> str:
    name = torchvision(name)
    name = re.sub(r"bn(\d)\.", r"conv\1.bn.", re.sub(r"conv(\d)\.", r"conv\1.conv.", name))
    name = re.sub(r"(layer\d\.\d+\.conv1\.conv)\.", r"\1.net.", name)
    return "backbone." + name.replace("downsample.0", "downsample.conv").replace(
        "downsample.1", "downsample.bn"
    )


def tsp(name: str) -> str:
    return f"features.{name}"


def transformers(name: str) -> str:
    name = re.sub(r"layer(\d+)\.", lambda m: f"videomae.encoder.layer.{int(m[1]) - 1}.", name)
    return name.replace("stem.embeddings", "videomae.embeddings").replace("pool.1", "fc_norm")


def older_transformers(name: str) -> str:
    name = transformers(name).replace("attention.query.bias", "attention.q_bias")
    return name.replace("attention.value.bias", "attention.v_bias")


def content(encoder: nn.Module, rename: Callable[[str], str], *heads: str) -> tuple[State, State]:
    """Random weights, under our names and under those of others with a classifier."""
    generator = torch.Generator().manual_seed(3)
    state = {
        # One number for each name, which takes no space in the file.
        name: torch.rand((), generator=generator).to(value.dtype).expand(value.shape)
        for name, value in encoder.state_dict().items()
    }
    renamed = {rename(name): value for name, value in state.items()}
    return state, renamed | {head: torch.zeros(7) for head in heads}


SOURCES = [
    ("resnet50_tsm", torchvision, ["fc.weight", "fc.bias"]),
    ("resnet50_tsm", authors_tsm, ["module.new_fc.weight", "module.new_fc.bias"]),
    ("resnet50_tsm", mmaction, ["cls_head.fc_cls.weight", "cls_head.fc_cls.bias"]),
    ("r2plus1d_34", tsp, ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]),
    ("r2plus1d_34", lambda name: "module." + tsp(name), []),
    ("videomae", transformers, ["classifier.weight", "classifier.bias"]),
    ("videomae", older_transformers, ["classifier.weight", "classifier.bias"]),
]


@pytest.mark.parametrize(("name", "rename", "heads"), SOURCES)
def test_published_names_are_understood(
    encoders: dict[str, nn.Module],
    name: str,
    rename: Callable[[str], str],
    heads: list[str],
    tmp_path: Path,
) -> None:
    encoder = copy.deepcopy(encoders[name])
    state, renamed = content(encoder, rename, *heads)
    assert renamed.keys() != state.keys()
    torch.save({"state_dict": renamed, "epoch": 3}, tmp_path / "weights.pt")
    assert load_pretrained(encoder, tmp_path / "weights.pt") == sorted(heads)
    assert all(value.equal(state[key]) for key, value in encoder.state_dict().items())


def test_renamed_transformers_weights_are_its_own() -> None:
    """The names above are not our imagination."""
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    with torch.device("meta"):
        sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
        theirs = VideoMAEForVideoClassification(VideoMAEConfig(**sizes, intermediate_size=128))
    expected = {n for n in theirs.state_dict() if not n.startswith("classifier")}
    assert {transformers(name) for name in tiny_videomae().state_dict()} == expected


@pytest.mark.parametrize("container", [None, "model", "state_dict"])
def test_weights_are_found_wherever_scripts_put_them(container: str | None, tmp_path: Path) -> None:
    encoder = tiny_videomae()
    state, renamed = content(encoder, transformers)
    # As TSP's script saves it: torch.load refuses such objects unless they are known to be safe.
    whole: Any = {container: renamed, "args": argparse.Namespace(lr=0.1)} if container else renamed
    torch.save(whole, tmp_path / "weights.pt")
    load_pretrained(encoder, tmp_path / "weights.pt")
    assert all(value.equal(state[key]) for key, value in encoder.state_dict().items())


def test_counters_of_batches_may_be_missing(encoders: dict[str, nn.Module], tmp_path: Path) -> None:
    encoder = copy.deepcopy(encoders["resnet50_tsm"])
    _, renamed = content(encoder, torchvision)
    old = {name: v for name, v in renamed.items() if not name.endswith("num_batches_tracked")}
    assert len(old) == len(renamed) - 53
    torch.save(old, tmp_path / "weights.pt")
    assert load_pretrained(encoder, tmp_path / "weights.pt") == []


def remove_norm(state: State) -> None:
    del state["fc_norm.weight"], state["fc_norm.bias"]


def add_decoder(state: State) -> None:
    state |= {f"decoder.{number}": torch.zeros(1) for number in range(5)}


def double(state: State) -> None:
    state["module.fc_norm.bias"] = state["fc_norm.bias"]


def narrow(state: State) -> None:
    state["fc_norm.bias"] = torch.zeros(31)


def diverge(state: State) -> None:
    state["fc_norm.bias"][3] = torch.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove_norm, r"Weights missing: pool.1.bias, pool.1.weight. Is it a checkpoint of"),
        (add_decoder, r"Weights unknown: decoder.0, decoder.1, decoder.2 and 2 more. Is it"),
        (double, r"Weights present twice: fc_norm.bias. Is it"),
        (narrow, r"Weights of another shape: pool.1.bias. Is it"),
        (diverge, r"Weights not finite: pool.1.bias. Is it"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(
    change: Callable[[State], None], message: str, tmp_path: Path
) -> None:
    encoder = tiny_videomae()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    _, renamed = content(encoder, transformers)
    change(renamed)
    torch.save(renamed, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=message):
        load_pretrained(encoder, tmp_path / "weights.pt")
    assert all(value.equal(before[key]) for key, value in encoder.state_dict().items())


def test_weights_of_another_encoder_are_refused(
    encoders: dict[str, nn.Module], tmp_path: Path
) -> None:
    torch.save(content(tiny_videomae(), transformers)[1], tmp_path / "weights.pt")
    message = r"does not fit the encoder. Weights missing: .* more; unknown: .* more. Is it"
    with pytest.raises(ValueError, match=message):
        load_pretrained(encoders["resnet50_tsm"], tmp_path / "weights.pt")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"encoder.checkpoint='.*none.pt': no such file"):
        load_pretrained(tiny_videomae(), tmp_path / "none.pt")


def test_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"cannot be read. .* save its state dict alone"):
        load_pretrained(tiny_videomae(), tmp_path / "weights.pt")


@pytest.mark.parametrize("whole", [{"epoch": 3}, [1, 2], {"model": {"weights": "elsewhere"}}])
def test_file_without_state_dict_is_refused(whole: Any, tmp_path: Path) -> None:
    torch.save(whole, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"expected a state dict, alone or as 'state_dict' or 'mo"):
        load_pretrained(tiny_videomae(), tmp_path / "weights.pt")


def test_model_starts_from_the_weights_that_its_settings_name(tmp_path: Path) -> None:
    def settings(checkpoint: str) -> Config:
        return Config(
            data=DataConfig(num_snippets=4, frames_per_snippet=2, frame_size=16),
            encoder=EncoderConfig(name="videomae_small", checkpoint=checkpoint),
            detector=DetectorConfig(hidden_channels=32, lstm_channels=16, norm_groups=4),
        )

    path = tmp_path / "weights.pt"
    state, renamed = content(ETAD(settings("")).encode.encoder, transformers)
    torch.save(renamed, path)
    loaded = ETAD(settings(str(path))).encode.encoder.state_dict()
    assert all(value.equal(state[key]) for key, value in loaded.items())
    path.unlink()
    ETAD(settings(str(path)), pretrained=False)
    with pytest.raises(FileNotFoundError, match=r"no such file"):
        ETAD(settings(str(path)))
