"""Encoders of many modules with little work each, to which a sampler's overhead shows."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import EfficientNetConfig, EfficientNetModel


def tiny_layers(*, depth: int = 160, width: int = 16) -> nn.Module:
    """Pairs of a linear layer and an activation, on vectors."""
    pairs = [(nn.Linear(width, width), nn.Tanh()) for _ in range(depth)]
    for linear, _ in pairs:
        # Through so many layers, torch's own weights let gradients vanish.
        nn.init.orthogonal_(linear.weight)
    return nn.Sequential(*(layer for pair in pairs for layer in pair))


class Attention(nn.Module):
    """Self-attention, with the placeholders that libraries of models have in it."""

    def __init__(self, width: int, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.query_norm, self.key_norm, self.norm = nn.Identity(), nn.Identity(), nn.Identity()
        self.projection = nn.Linear(width, width)
        self.value_dropout, self.dropout = nn.Dropout(0.0), nn.Dropout(0.0)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix the tokens, `[items tokens width]`, of each item."""
        heads = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind()
        query, key = self.query_norm(query), self.key_norm(key)
        mixed = self.value_dropout(functional.scaled_dot_product_attention(query, key, value))
        together = self.norm(mixed.transpose(1, 2).flatten(2))
        projected: Tensor = self.dropout(self.projection(together))
        return projected


class Block(nn.Module):
    """One block of a vision transformer: 22 modules, as many as in timm's."""

    def __init__(self, width: int, *, num_heads: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = (
            nn.LayerNorm(width),
            Attention(width, num_heads=num_heads),
        )
        self.attention_scale, self.attention_path = nn.Identity(), nn.Identity()
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(0.0),
            nn.Identity(),
            nn.Linear(4 * width, width),
            nn.Dropout(0.0),
        )
        self.mlp_scale, self.mlp_path = nn.Identity(), nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens, `[items tokens width]`, after attention and MLP."""
        mixed = self.attention(self.attention_norm(tokens))
        tokens = tokens + self.attention_path(self.attention_scale(mixed))
        changed: Tensor = self.mlp_path(self.mlp_scale(self.mlp(self.mlp_norm(tokens))))
        return tokens + changed


class VisionTransformer(nn.Module):
    """A vision transformer without positions, which change neither time nor modules.

    Args:
        depth: Number of blocks.
        width: Channels of a token.
        num_heads: Heads of attention.
        patch: Height and width of the pixels that make a token.
    """

    def __init__(
        self, *, depth: int = 24, width: int = 64, num_heads: int = 4, patch: int = 8
    ) -> None:
        super().__init__()
        self.tokens = nn.Conv2d(3, width, patch, stride=patch)
        self.blocks = nn.Sequential(*(Block(width, num_heads=num_heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean token of each image, `[images width]`."""
        tokens = self.tokens(images).flatten(2).transpose(1, 2)
        features: Tensor = self.norm(self.blocks(tokens)).mean(dim=1)
        return features


class EfficientNet(nn.Module):
    """EfficientNet-B0 of `transformers`, with random weights and BatchNorm in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        config = EfficientNetConfig(width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280)
        self.model = EfficientNetModel(config)
        # The features vanish with the random weights of transformers, and unless the statistics
        # are those of some images.
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                module.reset_parameters()
        with torch.no_grad():
            self(torch.randn(8, 3, 64, 64))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the pooled features, `[images channels]`."""
        features: Tensor = self.model(images).pooler_output
        return features
