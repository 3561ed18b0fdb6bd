"""Snippet encoders."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from examples.etad.encoders.build import ENCODERS, build_encoder
from examples.etad.encoders.motion_net import MotionNet
from examples.etad.encoders.normalise import IMAGENET, KINETICS, Normalise
from sgs import FrozenBatchNorm, SequentialGradientSampler
from tests.reference import RTOL, assert_same, direct_features, run

# Those of other sizes differ in nothing but numbers.
NAMES = ["motion_net", "r2plus1d_34", "resnet50_tsm", "videomae_small"]
CHANNELS = {"motion_net": 128, "r2plus1d_34": 512, "resnet50_tsm": 2048, "videomae_small": 384}


def random_snippets(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def built(residual_encoders: dict[str, nn.Module]) -> dict[str, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        others = ("motion_net", "videomae_small")
        small = {n: build_encoder(n, frames_per_snippet=4, frame_size=32) for n in others}
    return {**residual_encoders, **small}


@pytest.fixture(params=NAMES)
def encoder(request: pytest.FixtureRequest, built: dict[str, nn.Module]) -> nn.Module:
    return copy.deepcopy(built[request.param])


def test_table_has_no_untested_kind() -> None:
    assert ENCODERS.keys() == {*NAMES, "videomae_base", "videomae_large"}


def test_every_snippet_becomes_one_feature(
    encoder: nn.Module, generator: torch.Generator, request: pytest.FixtureRequest
) -> None:
    channels = CHANNELS[request.node.callspec.params["encoder"]]
    features = encoder(random_snippets(generator, 2, 3, 4, 32, 32))
    assert features.shape == (2, channels)
    assert encoder.feature_channels == channels
    assert features.dtype == torch.float32
    assert bool(features.isfinite().all())


@pytest.mark.parametrize("shape", [(2, 3, 8, 48, 48), (1, 3, 2, 16, 24), (3, 3, 5, 33, 20)])
@pytest.mark.parametrize("name", ["motion_net", "r2plus1d_34", "resnet50_tsm"])
def test_convolutions_take_frames_of_any_size(
    built: dict[str, nn.Module], name: str, generator: torch.Generator, shape: tuple[int, ...]
) -> None:
    with torch.no_grad():
        assert built[name](random_snippets(generator, *shape)).shape == (shape[0], CHANNELS[name])


def test_float_frames_give_the_same_features_as_uint8(
    encoder: nn.Module, generator: torch.Generator
) -> None:
    snippets = random_snippets(generator, 2, 3, 4, 32, 32)
    assert encoder(snippets).equal(encoder(snippets.float()))


def test_frames_are_not_changed(encoder: nn.Module, generator: torch.Generator) -> None:
    snippets = random_snippets(generator, 2, 3, 4, 32, 32).float()
    before = snippets.clone()
    encoder(snippets)
    assert snippets.equal(before)


def test_features_have_a_reasonable_scale(encoder: nn.Module, generator: torch.Generator) -> None:
    features = encoder(random_snippets(generator, 8, 3, 4, 32, 32))
    assert 0.05 < float(features.detach().std()) < 5


def test_snippets_do_not_influence_each_other(
    encoder: nn.Module, generator: torch.Generator
) -> None:
    encoder = encoder.double()
    snippets = random_snippets(generator, 3, 3, 4, 32, 32)
    with torch.no_grad():
        together = encoder(snippets)
        apart = torch.cat([encoder(snippet[None]) for snippet in snippets])
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-12)


def test_every_parameter_gets_a_gradient(encoder: nn.Module, generator: torch.Generator) -> None:
    features = encoder(random_snippets(generator, 4, 3, 4, 32, 32))
    features.square().sum().backward()
    trained = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    silent = [name for name, p in trained.items() if p.grad is None or not p.grad.any()]
    assert trained
    assert silent == []


def test_encoding_changes_no_state(encoder: nn.Module, generator: torch.Generator) -> None:
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.train()(random_snippets(generator, 2, 3, 4, 32, 32))
    assert all(value.equal(before[name]) for name, value in encoder.state_dict().items())


def test_sequential_gradients_against_one_graph(
    encoder: nn.Module, generator: torch.Generator, request: pytest.FixtureRequest
) -> None:
    encoder = encoder.double()
    # Frames of any size do for convolutions, and theirs take most of the time.
    size = 32 if "videomae" in request.node.callspec.params["encoder"] else 16
    items = random_snippets(generator, 3, 3, 4, size, size)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=2)
    features, gradients = run(encoder, lambda: sampler(items))
    expected, reference = run(encoder, lambda: direct_features(encoder, items))
    torch.testing.assert_close(features, expected, rtol=RTOL, atol=RTOL)
    assert_same(gradients, reference)


@pytest.mark.parametrize("name", ["r2plus1d_34", "resnet50_tsm"])
def test_all_batch_normalisation_is_frozen_and_stays_so(
    built: dict[str, nn.Module], name: str
) -> None:
    norms = [m for m in built[name].train().modules() if isinstance(m, FrozenBatchNorm)]
    assert len(norms) == {"r2plus1d_34": 69, "resnet50_tsm": 53}[name]
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())
    assert not any(isinstance(m, _BatchNorm) for m in built[name].modules())


@pytest.mark.parametrize("name", ["r2plus1d_34", "resnet50_tsm", "videomae_small"])
@pytest.mark.parametrize("shape", [(2, 1, 4, 32, 32), (3, 4, 32, 32)])
def test_other_shapes_are_refused(
    built: dict[str, nn.Module], name: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"Normalise\(snippets=...\): expected shape \(items, 3, "):
        built[name](torch.zeros(shape))


@pytest.mark.parametrize("statistics", [IMAGENET, KINETICS])
def test_colours_are_normalised_one_by_one(
    statistics: tuple[tuple[float, ...], tuple[float, ...]], generator: torch.Generator
) -> None:
    snippets = random_snippets(generator, 2, 3, 4, 5, 6)
    normalised = Normalise(statistics)(snippets)
    for colour, (mean, std) in enumerate(zip(*statistics, strict=True)):
        expected = (snippets[:, colour].float() - mean) / std
        torch.testing.assert_close(normalised[:, colour], expected)
    assert Normalise(statistics).double()(snippets.float()).dtype == torch.float64
    assert Normalise(statistics)(snippets.double()).dtype == torch.float32


def test_each_encoder_has_the_colours_of_its_pretraining(built: dict[str, nn.Module]) -> None:
    for name, (mean, std) in {
        "resnet50_tsm": IMAGENET,
        "r2plus1d_34": KINETICS,
        "videomae_small": IMAGENET,
    }.items():
        normalise = built[name].normalise
        assert normalise.mean.flatten().equal(torch.tensor(mean))
        assert normalise.std.flatten().equal(torch.tensor(std))


def test_colour_statistics_of_both_pretrainings() -> None:
    # As fractions of full intensity, from the papers' own code bases.
    for statistics, mean, std in (
        (IMAGENET, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        (KINETICS, (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
    ):
        assert statistics[0] == pytest.approx([255 * value for value in mean], rel=1e-5)
        assert statistics[1] == pytest.approx([255 * value for value in std], rel=1e-5)


def test_motion_net_does_not_see_what_stands_still(generator: torch.Generator) -> None:
    encoder = MotionNet(channels=8)
    still = random_snippets(generator, 2, 3, 1, 48, 48).expand(-1, -1, 8, -1, -1)
    features = encoder(still)
    assert features[0].equal(features[1])
    moving = random_snippets(generator, 2, 3, 8, 48, 48)
    assert not encoder(moving)[0].equal(encoder(moving)[1])


def test_motion_net_does_not_wrap_uint8_differences(generator: torch.Generator) -> None:
    encoder = MotionNet(channels=8)
    falling = torch.full((1, 3, 2, 16, 16), 200, dtype=torch.uint8)
    falling[:, :, 1] = 100
    wrapped = torch.zeros(1, 3, 2, 16, 16, dtype=torch.uint8)
    wrapped[:, :, 1] = 156
    assert not encoder(falling).allclose(encoder(wrapped))


def test_motion_net_scales_differences_to_order_one(generator: torch.Generator) -> None:
    encoder = MotionNet(channels=8)
    seen: list[Tensor] = []
    encoder.edges.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(random_snippets(generator, 2, 3, 8, 48, 48))
    assert 0.5 < float(seen[0].std()) < 2
    assert float(seen[0].abs().max()) < 4


def test_motion_net_tells_directions_of_time(generator: torch.Generator) -> None:
    encoder = MotionNet(channels=8)
    snippets = random_snippets(generator, 2, 3, 8, 48, 48)
    assert not encoder(snippets).allclose(encoder(snippets.flip(2)), atol=1e-4)


def test_constant_is_not_part_of_the_checkpoint() -> None:
    assert "std" not in MotionNet().state_dict()


@pytest.mark.parametrize("shape", [(2, 3, 1, 48, 48), (2, 1, 8, 48, 48), (3, 8, 48, 48)])
def test_motion_net_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"MotionNet\(snippets=...\): expected shape \(items, 3, "):
        MotionNet(channels=8)(torch.zeros(shape))


def test_motion_net_refuses_no_channels() -> None:
    with pytest.raises(ValueError, match=r"MotionNet\(channels=0\): expected at least 1"):
        MotionNet(channels=0)


def test_unknown_encoder_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"name='resnet'\): expected one of 'motion_net'"):
        build_encoder("resnet", channels=8)


def test_other_number_of_channels_is_refused_where_it_is_fixed() -> None:
    assert build_encoder("motion_net", channels=24).feature_channels == 24
    message = r"channels=24\): videomae_small has 384 channels. Set encoder.channels=0"
    with pytest.raises(ValueError, match=message):
        build_encoder("videomae_small", channels=24, frames_per_snippet=2, frame_size=16)
    assert build_encoder("videomae_small", channels=384, frames_per_snippet=2, frame_size=16)
