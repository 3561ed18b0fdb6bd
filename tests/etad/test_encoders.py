"""Snippet encoders."""

import pytest
import torch
from torch import Tensor, nn

from examples.etad.model.encoders.build import ENCODERS, build_encoder
from examples.etad.model.encoders.motion_net import MotionNet


def random_snippets(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.fixture(params=sorted(ENCODERS))
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_encoder(request.param, channels=24)


@pytest.mark.parametrize("shape", [(2, 3, 8, 48, 48), (1, 3, 2, 16, 24), (3, 3, 16, 33, 20)])
def test_every_snippet_becomes_one_feature(
    encoder: nn.Module, generator: torch.Generator, shape: tuple[int, ...]
) -> None:
    features = encoder(random_snippets(generator, *shape))
    assert features.shape == (shape[0], 24)
    assert encoder.feature_channels == 24
    assert features.dtype == torch.float32
    assert bool(features.isfinite().all())


def test_float_frames_give_the_same_features_as_uint8(
    encoder: nn.Module, generator: torch.Generator
) -> None:
    snippets = random_snippets(generator, 2, 3, 8, 48, 48)
    assert encoder(snippets).equal(encoder(snippets.float()))


def test_features_have_a_reasonable_scale(encoder: nn.Module, generator: torch.Generator) -> None:
    features = encoder(random_snippets(generator, 8, 3, 8, 48, 48))
    assert 0.05 < float(features.detach().std()) < 5


def test_snippets_do_not_influence_each_other(
    encoder: nn.Module, generator: torch.Generator
) -> None:
    encoder = encoder.double()
    snippets = random_snippets(generator, 5, 3, 8, 32, 32)
    together = encoder(snippets)
    apart = torch.cat([encoder(snippet[None]) for snippet in snippets])
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-12)


def test_every_parameter_gets_a_gradient(encoder: nn.Module, generator: torch.Generator) -> None:
    features = encoder(random_snippets(generator, 4, 3, 8, 48, 48))
    features.square().sum().backward()
    silent = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_encoding_changes_no_state(encoder: nn.Module, generator: torch.Generator) -> None:
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.train()(random_snippets(generator, 2, 3, 8, 48, 48))
    assert all(value.equal(before[name]) for name, value in encoder.state_dict().items())


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
