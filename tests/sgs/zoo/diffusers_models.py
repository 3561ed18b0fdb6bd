"""Models of `diffusers`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.sgs.kinds.arguments import DrawArguments, normal
from tests.sgs.kinds.kind import Arguments
from tests.sgs.zoo.foreign import Foreign
from tests.sgs.zoo.package import imported


def latents_of_classes(num_items: int, generator: torch.Generator) -> Arguments:
    return {
        "hidden_states": torch.randn(num_items, 3, 16, 16, generator=generator),
        "timestep": torch.randint(1000, (num_items,), generator=generator),
        "class_labels": torch.randint(5, (num_items,), generator=generator),
    }


class Encoded(nn.Module):
    """The encoder of an autoencoder, and a sample of the distribution that it returns."""

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, x: Tensor) -> dict[str, Any]:
        distribution = self.autoencoder.encode(x).latent_dist
        return {"sample": distribution.sample(), "mean": distribution.mean}


def autoencoder() -> nn.Module:
    blocks = {"block_out_channels": (4, 8), "down_block_types": ("DownEncoderBlock2D",) * 2}
    norms = {"up_block_types": ("UpDecoderBlock2D",) * 2, "norm_num_groups": 2}
    return Encoded(imported("diffusers").AutoencoderKL(latent_channels=2, **blocks, **norms))


def video_autoencoder() -> nn.Module:
    """Build a model that encodes videos in parts, and keeps features of the last part."""
    sizes = {"base_dim": 4, "z_dim": 2, "dim_mult": [1, 2], "num_res_blocks": 1}
    statistics = {"latents_mean": [0.0, 0.0], "latents_std": [1.0, 1.0]}
    wan = imported("diffusers").AutoencoderKLWan
    return Encoded(wan(temperal_downsample=[True], **sizes, **statistics))


def dit() -> nn.Module:
    """Build a transformer whose norms depend on time and class; it drops classes at random."""
    sizes = {"num_attention_heads": 2, "attention_head_dim": 4, "in_channels": 3, "num_layers": 2}
    images = {"sample_size": 16, "patch_size": 4, "num_embeds_ada_norm": 5, "dropout": 0.2}
    return imported("diffusers").DiTTransformer2DModel(**sizes, **images)


def line(build: Callable[[], nn.Module], arguments: DrawArguments) -> Foreign:
    return Foreign(build, arguments, is_stochastic=True, package="diffusers")


DIFFUSERS = {
    "diffusers_autoencoder": line(autoencoder, normal(3, 16, 16, name="x")),
    "diffusers_video_autoencoder": line(video_autoencoder, normal(3, 5, 16, 16, name="x")),
    "diffusers_dit": line(dit, latents_of_classes),
}
