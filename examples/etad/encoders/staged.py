"""Encoders that are a chain of stages, so that the first of them can be frozen."""

from collections.abc import Mapping

from jaxtyping import Float, Shaped
from torch import Tensor, nn


class StagedEncoder(nn.Module):
    """Run the parts of an encoder one after the other.

    Args:
        parts: By name, in order. The stages among them are called layer1, layer2 and so on; each
            part maps one row per snippet to one row per snippet.
        feature_channels: Channels of what the last part returns.
    """

    def __init__(self, parts: Mapping[str, nn.Module], *, feature_channels: int) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.feature_channels = feature_channels

    def forward(
        self, snippets: Shaped[Tensor, "items channels frames height width"]
    ) -> Float[Tensor, "items feature_channels"]:
        """Encode snippets, RGB in [0, 255], uint8 or floating point."""
        features = snippets
        for part in self.children():
            features = part(features)
        return features


class Mean(nn.Module):
    """Average over dimensions, which disappear.

    Args:
        dims: Over which.
    """

    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, maps: Float[Tensor, "items ..."]) -> Float[Tensor, "items channels"]:
        return maps.mean(dim=self.dims)

    def extra_repr(self) -> str:
        return f"dims={self.dims}"
