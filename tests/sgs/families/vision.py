"""Image and video models of `transformers`."""

import torch
from torch import nn
from transformers import (
    BeitConfig,
    BeitModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextModel,
    DeiTConfig,
    DeiTModel,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    HieraConfig,
    HieraModel,
    ResNetConfig,
    ResNetModel,
    SegformerConfig,
    SegformerModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    SwinConfig,
    SwinModel,
    TimesformerConfig,
    TimesformerModel,
    VideoMAEConfig,
    VideoMAEModel,
    ViTConfig,
    ViTMAEConfig,
    ViTMAEModel,
    ViTModel,
    VivitConfig,
    VivitModel,
    VJEPA2Config,
    VJEPA2Model,
)

from sgs import freeze_batch_norm
from tests.sgs.kinds.kind import Arguments, Kind

# Much larger than usual: attention of so few channels would be uniform otherwise.
WIDE = {"initializer_range": 0.3}
SMALL = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 8,
    **WIDE,
}
DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}


def images(num_items: int, generator: torch.Generator) -> Arguments:
    return {"pixel_values": torch.randn(num_items, 3, 16, 16, generator=generator)}


def videos(num_items: int, generator: torch.Generator) -> Arguments:
    return {"pixel_values": torch.randn(num_items, 4, 3, 16, 16, generator=generator)}


def vjepa2_videos(num_items: int, generator: torch.Generator) -> Arguments:
    return {"pixel_values_videos": videos(num_items, generator)["pixel_values"]}


def beit() -> nn.Module:
    positions = {"use_relative_position_bias": True, "drop_path_rate": 0.3}
    return BeitModel(BeitConfig(**SMALL, **positions))


def swin() -> nn.Module:
    sizes = {"image_size": 16, "patch_size": 2, "embed_dim": 8, "window_size": 2}
    stages = {"depths": [2, 2], "num_heads": [2, 2], "drop_path_rate": 0.3}
    return SwinModel(SwinConfig(**sizes, **stages, **WIDE))


def convnext() -> nn.Module:
    stages = {"num_stages": 2, "hidden_sizes": [8, 12], "depths": [2, 2], "drop_path_rate": 0.3}
    return ConvNextModel(ConvNextConfig(**stages, **WIDE, patch_size=4))


def dinov3() -> nn.Module:
    # Its rotary positions are rescaled at random.
    return DINOv3ViTModel(DINOv3ViTConfig(**SMALL, num_register_tokens=2, drop_path_rate=0.3))


def segformer() -> nn.Module:
    stages = {"num_encoder_blocks": 2, "depths": [2, 2], "sr_ratios": [2, 1], "strides": [4, 2]}
    sizes = {"hidden_sizes": [8, 16], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2]}
    patches = {"patch_sizes": [7, 3], "drop_path_rate": 0.3}
    return SegformerModel(SegformerConfig(**stages, **sizes, **patches, **WIDE))


def hiera() -> nn.Module:
    sizes = {"image_size": [16, 16], "embed_dim": 8, "masked_unit_size": [2, 2]}
    patches = {"patch_size": [3, 3], "patch_stride": [2, 2], "patch_padding": [1, 1]}
    stages = {"depths": [1, 1], "num_heads": [1, 2], "num_query_pool": 1, "drop_path_rate": 0.3}
    masked = {"masked_unit_attention": [True, False]}
    return HieraModel(HieraConfig(**sizes, **patches, **stages, **masked, **WIDE))


def resnet() -> nn.Module:
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    return freeze_batch_norm(ResNetModel(ResNetConfig(**sizes)), freeze_affine=False)


def vivit() -> nn.Module:
    sizes = {**SMALL, "num_frames": 4, "tubelet_size": [2, 8, 8]}
    del sizes["patch_size"]
    return VivitModel(VivitConfig(**sizes, **DROPOUT))


def vjepa2() -> nn.Module:
    encoder = {"patch_size": 8, "crop_size": 16, "frames_per_clip": 4, "tubelet_size": 2}
    sizes = {"hidden_size": 12, "num_attention_heads": 2, "num_hidden_layers": 2, "mlp_ratio": 2}
    predictor = {
        "pred_hidden_size": 12,
        "pred_num_attention_heads": 2,
        "pred_num_hidden_layers": 1,
        "pred_num_mask_tokens": 2,
    }
    noise = {**WIDE, "drop_path_rate": 0.3}
    return VJEPA2Model(VJEPA2Config(**encoder, **sizes, **predictor, **noise))


IMAGE_FAMILIES = {
    "vit": Kind(lambda: ViTModel(ViTConfig(**SMALL, **DROPOUT)), images, is_stochastic=True),
    "deit": Kind(lambda: DeiTModel(DeiTConfig(**SMALL)), images),
    "vit_mae": Kind(lambda: ViTMAEModel(ViTMAEConfig(**SMALL)), images, is_stochastic=True),
    "beit": Kind(beit, images, is_stochastic=True),
    "swin": Kind(swin, images, is_stochastic=True),
    "convnext": Kind(convnext, images, is_stochastic=True),
    "dinov2": Kind(
        lambda: Dinov2Model(Dinov2Config(**SMALL, drop_path_rate=0.3)), images, is_stochastic=True
    ),
    "dinov3": Kind(dinov3, images, is_stochastic=True),
    "clip_vision": Kind(lambda: CLIPVisionModel(CLIPVisionConfig(**SMALL)), images),
    "siglip_vision": Kind(lambda: SiglipVisionModel(SiglipVisionConfig(**SMALL)), images),
    "segformer": Kind(segformer, images, is_stochastic=True),
    "hiera": Kind(hiera, images, is_stochastic=True),
    "resnet": Kind(resnet, images),
}

VIDEO_FAMILIES = {
    "videomae": Kind(
        lambda: VideoMAEModel(VideoMAEConfig(**SMALL, **DROPOUT, num_frames=4)),
        videos,
        is_stochastic=True,
    ),
    "timesformer": Kind(
        lambda: TimesformerModel(TimesformerConfig(**SMALL, **DROPOUT, num_frames=4)),
        videos,
        is_stochastic=True,
    ),
    "vivit": Kind(vivit, videos, is_stochastic=True),
    "vjepa2": Kind(vjepa2, vjepa2_videos, is_stochastic=True),
}
