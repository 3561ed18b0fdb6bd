"""An encoder of two stages that costs nothing, for the scripts at toy size."""

from torch import Tensor, nn

from examples.etad.model.encoders.staged import Mean, StagedEncoder


class Scale(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels / 255


def tiny_encoder(*, frame_size: int = 4, channels: int = 4) -> StagedEncoder:
    first = nn.Sequential(Scale(), nn.Linear(frame_size, channels))
    parts = {"layer1": first, "layer2": nn.Linear(channels, 5), "pool": Mean(1, 2, 3)}
    return StagedEncoder(parts, feature_channels=5)
