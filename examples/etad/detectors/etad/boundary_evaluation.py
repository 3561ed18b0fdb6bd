"""Boundary evaluation: startness and endness of each snippet (paper section 3.1)."""

from jaxtyping import Float
from torch import Tensor, nn

from examples.etad.detectors.etad.config import DetectorConfig


class BoundaryEvaluation(nn.Module):
    """Two convolutions with one output for starts and one for ends.

    Args:
        config: Widths and groups.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.layers = nn.Sequential(
            nn.Conv1d(hidden, hidden, 3, padding=1, groups=config.conv_groups),
            nn.ReLU(),
            nn.Conv1d(hidden, 2, 1),
        )

    def forward(
        self, features: Float[Tensor, "batch hidden snippets"]
    ) -> tuple[Float[Tensor, "batch snippets"], Float[Tensor, "batch snippets"]]:
        """Return the logits of startness and of endness."""
        startness, endness = self.layers(features).unbind(dim=1)
        return startness, endness
