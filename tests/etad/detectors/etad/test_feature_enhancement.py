import pytest
import torch
from torch import nn

from examples.etad.detectors.etad.config import DetectorConfig
from examples.etad.detectors.etad.feature_enhancement import FeatureEnhancement

CONFIG = DetectorConfig(hidden_channels=32, lstm_channels=16, norm_groups=4)


@pytest.fixture
def enhancement(generator: torch.Generator) -> FeatureEnhancement:
    module = FeatureEnhancement(CONFIG, in_channels=8)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.3, 0.3, generator=generator)
    return module


def test_enhancement_against_two_separate_lstms(
    enhancement: FeatureEnhancement, generator: torch.Generator
) -> None:
    features = torch.randn(2, 8, 10, generator=generator)
    weights = enhancement.lstm.state_dict()
    forward_lstm, backward_lstm = nn.LSTM(32, 16), nn.LSTM(32, 16)
    forward_lstm.load_state_dict(
        {name: value for name, value in weights.items() if not name.endswith("_reverse")}
    )
    backward_lstm.load_state_dict(
        {
            name.removesuffix("_reverse"): value
            for name, value in weights.items()
            if name.endswith("_reverse")
        }
    )
    reduced = enhancement.reduce(features)
    steps = reduced.permute(2, 0, 1)
    before = forward_lstm(steps)[0].permute(1, 2, 0)
    after = backward_lstm(steps.flip(0))[0].flip(0).permute(1, 2, 0)
    branches = [
        enhancement.forward_branch(before),
        enhancement.skip_branch(reduced),
        enhancement.backward_branch(after),
    ]
    expected = enhancement.fuse(torch.cat(branches, dim=1))
    torch.testing.assert_close(enhancement(features), expected)


@pytest.mark.parametrize(
    ("branch", "quarters"),
    [("forward_branch", {0}), ("skip_branch", {1, 2}), ("backward_branch", {3})],
)
def test_branches_do_not_mix_inside_the_module(
    enhancement: FeatureEnhancement, branch: str, quarters: set[int], generator: torch.Generator
) -> None:
    features = torch.randn(1, 8, 10, generator=generator)
    before = enhancement(features)
    nn.init.uniform_(getattr(enhancement, branch)[0].weight, -1, 1, generator=generator)
    changed = (enhancement(features) != before).any(dim=-1).view(4, -1).any(dim=-1)
    assert set(changed.nonzero().flatten().tolist()) == quarters
