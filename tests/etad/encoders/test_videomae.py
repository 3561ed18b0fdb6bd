import sys

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from examples.etad.encoders.build import build_encoder
from examples.etad.encoders.videomae import videomae


def tiny() -> nn.Module:
    return videomae(hidden_size=32, num_layers=3, num_heads=4, frames_per_snippet=4, frame_size=32)


def test_features_against_the_model_of_transformers(generator: torch.Generator) -> None:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    settings = VideoMAEConfig(
        image_size=32,
        num_frames=4,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
    )
    reference = VideoMAEForVideoClassification(settings).double()
    reference.classifier = nn.Identity()
    for parameter in reference.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    encoder = tiny().double()
    pairs = list(zip(encoder.parameters(), reference.parameters(), strict=True))
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        ours.data.copy_(theirs.data)
    snippets = torch.randint(0, 256, (2, 3, 4, 32, 32), generator=generator)
    expected = reference(encoder.normalise(snippets).transpose(1, 2)).logits
    torch.testing.assert_close(encoder(snippets), expected, rtol=1e-12, atol=1e-12)


def test_table_of_positions_is_no_weight_but_moves_with_the_model() -> None:
    encoder = tiny()
    assert not any("position" in name for name in encoder.state_dict())
    assert [name for name, _ in encoder.named_buffers() if "position" in name]
    assert encoder.to("meta").stem.embeddings.position_embeddings.is_meta


# Table 2 of the VideoMAE paper (arXiv 2203.12602): GFLOPs for 16 frames of 224 × 224, and millions
# of parameters.
@pytest.mark.parametrize(
    ("name", "giga_multiply_adds", "mega_parameters", "channels"),
    [
        ("videomae_small", 57, 22, 384),
        ("videomae_base", 180, 87, 768),
        ("videomae_large", 597, 305, 1024),
    ],
)
def test_parameters_and_multiply_adds_are_the_published_ones(
    name: str, giga_multiply_adds: int, mega_parameters: int, channels: int
) -> None:
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder = build_encoder(name)
        features = encoder(torch.zeros(1, 3, 16, 224, 224))
    assert features.shape == (1, channels) == (1, encoder.feature_channels)
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga_multiply_adds, rel=0.003)
    num_parameters = sum(p.numel() for p in encoder.parameters())
    assert num_parameters / 1e6 == pytest.approx(mega_parameters, rel=0.01)
    exact = {"videomae_small": 21_879_936, "videomae_base": 86_227_200}
    assert num_parameters == exact.get(name, 303_860_736)


@pytest.mark.parametrize("shape", [(1, 3, 2, 32, 32), (1, 3, 4, 32, 48), (1, 3, 4, 48, 32)])
def test_other_sizes_than_those_it_was_built_for_are_refused(shape: tuple[int, ...]) -> None:
    message = r"expected \(frames, height, width\) = \(4, 32, 32\), got .* fixed when it is built"
    with pytest.raises(ValueError, match=message):
        tiny()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("argument", "value", "unit"),
    [("frames_per_snippet", 3, 2), ("frames_per_snippet", 0, 2), ("frame_size", 100, 16)],
)
def test_sizes_that_give_no_whole_patches_are_refused(argument: str, value: int, unit: int) -> None:
    message = rf"videomae\({argument}={value}\): expected a positive multiple of {unit}"
    with pytest.raises(ValueError, match=message):
        videomae(hidden_size=32, num_layers=1, num_heads=4, **{argument: value})


def test_missing_transformers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"needs the package transformers, which .* `pip install"):
        tiny()
