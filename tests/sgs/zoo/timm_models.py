"""Image models of `timm`."""

from collections.abc import Callable
from typing import Any

from torch import nn

from sgs import freeze_batch_norm
from tests.sgs.kinds.arguments import normal
from tests.sgs.zoo.foreign import Foreign
from tests.sgs.zoo.package import imported

DROP = {"drop_rate": 0.2, "drop_path_rate": 0.3}


def model(name: str, **settings: Any) -> nn.Module:
    """Build a class of `timm.models`, given as `file.Class`."""
    imported("timm")
    file, name = name.split(".")
    return getattr(imported(f"timm.models.{file}"), name)(num_classes=4, **settings, **DROP)


def frozen(encoder: nn.Module) -> nn.Module:
    """Freeze statistics, and train scales and shifts."""
    return freeze_batch_norm(encoder, freeze_affine=False)


def frozen_by_timm(encoder: nn.Module) -> nn.Module:
    """Freeze layers that normalise and activate at once, which are of a class of timm's own."""
    return imported("timm.utils.model").freeze_batch_norm_2d(encoder)


def resnet() -> nn.Module:
    """Build a network that drops blocks of its feature maps, too."""
    block = imported("timm.models.resnet").BasicBlock
    sizes = {"layers": (1, 1, 1, 1), "channels": (4, 8, 8, 8), "stem_width": 4}
    return frozen(model("resnet.ResNet", block=block, drop_block_rate=0.3, **sizes))


def efficientnet() -> nn.Module:
    stages = [["ds_r1_k3_s1_e1_c8_se0.25"], ["ir_r2_k5_s2_e2_c12_se0.25"]]
    blocks = imported("timm.models._efficientnet_builder").decode_arch_def(stages)
    sizes = {"stem_size": 8, "num_features": 16}
    return frozen_by_timm(model("efficientnet.EfficientNet", block_args=blocks, **sizes))


def mobileone() -> nn.Module:
    """Build a network of parallel branches, which inference would merge."""
    file = imported("timm.models.byobnet")
    branches = {"type": "one", "d": 1, "s": 2, "block_kwargs": {"num_conv_branches": 2}}
    blocks = tuple(file.ByoBlockCfg(c=8, gs=groups, **branches) for groups in (0, 1))
    config = file.ByoModelCfg(blocks=blocks, stem_type="one", stem_chs=4)
    return frozen_by_timm(model("byobnet.ByobNet", cfg=config))


def nfnet() -> nn.Module:
    """Build a network that normalises its weights, by batch normalisation of each of them."""
    sizes = {"depths": (1, 1), "channels": (8, 16), "stem_chs": 8}
    config = imported("timm.models.nfnet").NfCfg(**sizes, stem_type="3x3", skipinit=True)
    return model("nfnet.NormFreeNet", cfg=config)


def vit() -> nn.Module:
    """Build a transformer that drops patches, and has tokens of its own."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2}
    tokens = {"reg_tokens": 2, "patch_drop_rate": 0.5, "qk_norm": True, "init_values": 1.0}
    return model("vision_transformer.VisionTransformer", **sizes, **tokens)


def swin_v2() -> nn.Module:
    sizes = {"img_size": 32, "patch_size": 4, "embed_dim": 8, "window_size": 4}
    stages = {"depths": (2, 2), "num_heads": (2, 2)}
    return model("swin_transformer_v2.SwinTransformerV2", **sizes, **stages)


def maxvit() -> nn.Module:
    """Build a hybrid of convolution and of attention in windows and on grids."""
    file = imported("timm.models.maxxvit")
    attention = file.MaxxVitTransformerCfg(dim_head=4, window_size=(4, 4), rel_pos_type="mlp")
    stages = {"embed_dim": (8, 8), "depths": (1, 1), "block_type": ("M", "M"), "stem_width": 4}
    config = file.MaxxVitCfg(transformer_cfg=attention, **stages)
    return frozen_by_timm(model("maxxvit.MaxxVit", cfg=config, img_size=32))


def levit() -> nn.Module:
    """Build a transformer with batch normalisation; in evaluation it caches its biases."""
    stages = {"embed_dim": (8, 12), "depth": (1, 1), "num_heads": (2, 2), "key_dim": 4}
    return frozen(model("levit.Levit", img_size=32, stem_type="s8", **stages))


def xcit() -> nn.Module:
    """Build a transformer whose attention is between channels."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2}
    return frozen(model("xcit.Xcit", cls_attn_layers=1, tokens_norm=True, **sizes))


def line(build: Callable[[], nn.Module]) -> Foreign:
    return Foreign(build, normal(3, 32, 32, name="x"), is_stochastic=True, package="timm")


TIMM = {
    "timm_resnet": line(resnet),
    "timm_efficientnet": line(efficientnet),
    "timm_mobileone": line(mobileone),
    "timm_nfnet": line(nfnet),
    "timm_vit": line(vit),
    "timm_swin_v2": line(swin_v2),
    "timm_maxvit": line(maxvit),
    "timm_levit": line(levit),
    "timm_xcit": line(xcit),
}
