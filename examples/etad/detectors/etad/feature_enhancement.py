"""Feature enhancement: two LSTMs and a skip branch (supplement A.1)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from examples.etad.detectors.etad.config import DetectorConfig


class FeatureEnhancement(nn.Module):
    """Give every snippet the context before and after it.

    The residual connection of the paper is a third branch, joined by concatenation; with grouped
    convolutions throughout, the three branches first mix in the layers after this module.

    Args:
        config: Widths and groups.
        in_channels: Channels of the encoder's features, a multiple of `config.conv_groups`.
    """

    def __init__(self, config: DetectorConfig, *, in_channels: int) -> None:
        super().__init__()
        hidden, lstm = config.hidden_channels, config.lstm_channels
        self.reduce = _conv_norm_relu(in_channels, hidden, config=config)
        # Bidirectional: one LSTM reads forward, the other backward.
        self.lstm = nn.LSTM(hidden, lstm, batch_first=True, bidirectional=True)
        self.forward_branch = _conv_norm_relu(lstm, hidden // 2, config=config)
        self.skip_branch = _conv_norm_relu(hidden, hidden, config=config)
        self.backward_branch = _conv_norm_relu(lstm, hidden // 2, config=config)
        self.fuse = _conv_norm_relu(2 * hidden, hidden, config=config, kernel_size=1)

    def forward(
        self, features: Float[Tensor, "batch channels snippets"]
    ) -> Float[Tensor, "batch hidden snippets"]:
        reduced = self.reduce(features)
        context, _ = self.lstm(reduced.transpose(1, 2))
        before, after = context.transpose(1, 2).chunk(2, dim=1)
        branches = [self.forward_branch(before), self.skip_branch(reduced)]
        branches.append(self.backward_branch(after))
        fused: Tensor = self.fuse(torch.cat(branches, dim=1))
        return fused


def _conv_norm_relu(
    in_channels: int, out_channels: int, *, config: DetectorConfig, kernel_size: int = 3
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(
            in_channels,
            out_channels,
            kernel_size,
            padding=kernel_size // 2,
            groups=config.conv_groups,
            bias=False,
        ),
        nn.GroupNorm(config.norm_groups, out_channels),
        nn.ReLU(),
    )
