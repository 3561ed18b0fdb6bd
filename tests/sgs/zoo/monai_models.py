"""Models of `monai`, for volumes."""

from typing import Any

from torch import nn

from sgs import freeze_batch_norm
from tests.sgs.kinds.arguments import normal
from tests.sgs.zoo.foreign import Foreign
from tests.sgs.zoo.package import imported


def model(name: str, **settings: Any) -> nn.Module:
    """Build a class of `monai.networks.nets`."""
    return getattr(imported("monai.networks.nets"), name)(spatial_dims=3, **settings)


def unet() -> nn.Module:
    sizes = {"in_channels": 1, "out_channels": 2, "channels": (4, 8), "strides": (2,)}
    return model("UNet", num_res_units=1, dropout=0.2, **sizes)


def vit() -> nn.Module:
    """Build a transformer that keeps the attention of its last call on its modules."""
    sizes = {"hidden_size": 8, "mlp_dim": 16, "num_layers": 2, "num_heads": 2}
    patches = {"in_channels": 1, "img_size": (16, 16, 16), "patch_size": (8, 8, 8)}
    return model("ViT", dropout_rate=0.2, save_attn=True, **sizes, **patches)


def densenet() -> nn.Module:
    sizes = {"in_channels": 1, "out_channels": 4, "init_features": 4, "growth_rate": 4}
    blocks = {"block_config": (2, 2), "bn_size": 2, "dropout_prob": 0.2}
    return freeze_batch_norm(model("DenseNet", **sizes, **blocks), freeze_affine=False)


def segresnet() -> nn.Module:
    sizes = {"init_filters": 4, "norm": ("GROUP", {"num_groups": 2})}
    return model("SegResNet", blocks_down=(1, 1), blocks_up=(1,), dropout_prob=0.2, **sizes)


MONAI = {
    f"monai_{build.__name__}": Foreign(
        build, normal(1, 16, 16, 16, name="x"), is_stochastic=True, package="monai"
    )
    for build in (unet, vit, densenet, segresnet)
}
