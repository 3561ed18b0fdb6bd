"""Image and video models of `vit-pytorch`."""

from collections.abc import Callable
from typing import Any

from torch import nn

from tests.sgs.kinds.arguments import DrawArguments, normal
from tests.sgs.zoo.foreign import Foreign
from tests.sgs.zoo.package import imported

IMAGES = normal(3, 16, 16, name="img")
SMALL = {"num_classes": 4, "dim": 8, "heads": 2, "dim_head": 4, "mlp_dim": 16}
PATCHES = {"image_size": 16, "patch_size": 4, "depth": 2}
DROPOUT = {"dropout": 0.2, "emb_dropout": 0.2}


def model(name: str, **settings: Any) -> nn.Module:
    """Build a class of `vit_pytorch`, given as `file.Class`."""
    file, name = name.split(".")
    return getattr(imported(f"vit_pytorch.{file}"), name)(**settings)


def vivit() -> nn.Module:
    patches = {"image_size": 16, "image_patch_size": 8, "frames": 4, "frame_patch_size": 2}
    depths = {"spatial_depth": 1, "temporal_depth": 1, "variant": "factorized_self_attention"}
    return model("vivit.ViViT", **patches, **depths, **SMALL, **DROPOUT)


def normalised_vit() -> nn.Module:
    """Build a transformer whose weights are parametrized to have norm 1."""
    return model("normalized_vit.nViT", **PATCHES, **SMALL, dropout=0.2)


def learnable_memory() -> nn.Module:
    """Build a frozen transformer around memories that are trained."""
    vit = model("learnable_memory_vit.ViT", **PATCHES, **SMALL, **DROPOUT)
    return model("learnable_memory_vit.Adapter", vit=vit, num_classes=4, num_memories_per_layer=2)


def recorder() -> nn.Module:
    """Build a transformer that returns its attention, from hooks that the first call installs."""
    return model("recorder.Recorder", vit=model("vit.ViT", **PATCHES, **SMALL, **DROPOUT))


def line(build: Callable[[], nn.Module], arguments: DrawArguments = IMAGES) -> Foreign:
    return Foreign(build, arguments, is_stochastic=True, package="vit_pytorch")


VIT_PYTORCH = {
    "vit_pytorch_vivit": line(vivit, normal(3, 4, 16, 16, name="video")),
    "vit_pytorch_normalised": line(normalised_vit, normal(3, 16, 16, name="images")),
    "vit_pytorch_learnable_memory": line(learnable_memory),
    "vit_pytorch_recorder": line(recorder),
}
