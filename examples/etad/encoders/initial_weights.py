"""Initial weights of residual networks without a checkpoint."""

from torch import nn


def initialise_convolutions(encoder: nn.Module) -> None:
    """Draw convolutions that keep the scale of rectified features.

    Args:
        encoder: Changed in place; weights come from torch's default generator.
    """
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def damp_branch(norm: nn.Module, *, num_blocks: int) -> None:
    """Scale the residual branch that ends in this layer.

    Frozen batch normalization does not keep the scale: each block would add as much again, and
    features would be hundreds of times too large.

    Args:
        norm: The last batch normalization of the branch.
        num_blocks: Residual blocks of the network.
    """
    nn.init.constant_(norm.get_parameter("weight"), num_blocks**-0.5)
