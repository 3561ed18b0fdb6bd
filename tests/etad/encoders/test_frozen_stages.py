"""Freezing the first stages of an encoder."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from examples.etad.detectors.etad.config import DetectorConfig
from examples.etad.encoders.frozen_stages import split_encoder
from examples.etad.encoders.motion_net import MotionNet
from examples.etad.encoders.videomae import videomae
from examples.etad.end_to_end import ETAD
from examples.etad.settings.config import Config, DataConfig, EncoderConfig, TrainConfig
from examples.etad.training.optimizer import build_optimizer
from sgs import SequentialGradientSampler
from tests.reference import assert_same, coupling_loss, gradients_of

FIRST_TWO = ("stem.", "layer1.", "layer2.")
NUM_STAGES = {"resnet50_tsm": 4, "r2plus1d_34": 4, "videomae": 3}


def tiny_videomae() -> nn.Module:
    return videomae(hidden_size=32, num_layers=3, num_heads=4, frames_per_snippet=4, frame_size=32)


@pytest.fixture
def encoders(residual_encoders: dict[str, nn.Module]) -> dict[str, nn.Module]:
    return {**residual_encoders, "videomae": tiny_videomae()}


@pytest.fixture
def snippets(generator: torch.Generator) -> Tensor:
    return torch.randint(0, 256, (3, 3, 4, 32, 32), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("name", "frozen_stages"),
    [(name, count) for name, last in NUM_STAGES.items() for count in range(1, last + 1)],
)
def test_trunk_after_stem_is_the_encoder(
    encoders: dict[str, nn.Module], name: str, frozen_stages: int, snippets: Tensor
) -> None:
    encoder = copy.deepcopy(encoders[name])
    stem, trunk = split_encoder(encoder, frozen_stages)
    with torch.no_grad():
        maps = stem(snippets)
        assert len(maps) == len(snippets)
        assert trunk(maps).equal(encoder(snippets))
    assert {**stem.state_dict(), **trunk.state_dict()}.keys() == encoder.state_dict().keys()
    both = [*stem.parameters(), *trunk.parameters()]
    assert all(a is b for a, b in zip(both, encoder.parameters(), strict=True))


@pytest.mark.parametrize("name", NUM_STAGES)
def test_first_stages_stop_training_and_the_others_do_not(
    encoders: dict[str, nn.Module], name: str
) -> None:
    encoder = copy.deepcopy(encoders[name])
    before = {n: p.requires_grad for n, p in encoder.named_parameters()}
    split_encoder(encoder, 2)
    after = {n: p.requires_grad for n, p in encoder.named_parameters()}
    assert after == {n: before[n] and not n.startswith(FIRST_TWO) for n in before}
    assert any(after.values())


def test_no_frozen_stage_changes_nothing() -> None:
    for encoder in (MotionNet(channels=8), tiny_videomae()):
        assert split_encoder(encoder, 0) == (None, encoder)
        assert all(parameter.requires_grad for parameter in encoder.parameters())


# Gradients of R(2+1)D take seconds, and its chain of parts is the same.
@pytest.mark.parametrize("name", ["resnet50_tsm", "videomae"])
def test_gradients_of_the_trunk_alone_are_those_of_the_encoder(
    encoders: dict[str, nn.Module], name: str, snippets: Tensor
) -> None:
    encoder = copy.deepcopy(encoders[name]).double()
    if name == "resnet50_tsm":
        snippets = snippets[..., :16, :16]
    stem, trunk = split_encoder(encoder, 2)
    coupling_loss(encoder(snippets)).backward()
    expected = gradients_of(encoder)
    encoder.zero_grad()
    sampler = SequentialGradientSampler(trunk, micro_batch_size=2, frozen_stem=stem)
    coupling_loss(sampler(snippets)).backward()
    assert_same(gradients_of(encoder), expected)
    assert any(gradient is not None for gradient in expected.values())
    assert all(g is None for n, g in expected.items() if n.startswith(FIRST_TWO))


def test_encoder_without_stages_is_refused() -> None:
    message = r"split_encoder\(frozen_stages=2\): MotionNet has no stages. Set encoder.frozen_stage"
    with pytest.raises(ValueError, match=message):
        split_encoder(MotionNet(channels=8), 2)


@pytest.mark.parametrize("frozen_stages", [-1, 4])
def test_number_of_stages_that_does_not_exist_is_refused(frozen_stages: int) -> None:
    with pytest.raises(ValueError, match=rf"{frozen_stages}\): expected 0 to 3, the stages"):
        split_encoder(tiny_videomae(), frozen_stages)


def test_optimizer_does_not_see_frozen_stages() -> None:
    config = Config(
        data=DataConfig(num_snippets=4, frames_per_snippet=4, frame_size=32),
        encoder=EncoderConfig(name="videomae_small", frozen_stages=2),
        detector=DetectorConfig(hidden_channels=32, lstm_channels=16, norm_groups=4),
    )
    model = ETAD(config)
    groups = build_optimizer(model, TrainConfig()).param_groups
    expected = list(model.encode.encoder.parameters())
    assert 0 < len(expected) < len(list(model.encode.parameters()))
    assert all(a is b for a, b in zip(groups[0]["params"], expected, strict=True))
    frozen = dataclasses.replace(config.encoder, frozen=True)
    model = ETAD(dataclasses.replace(config, encoder=frozen))
    assert build_optimizer(model, TrainConfig()).param_groups[0]["params"] == []
