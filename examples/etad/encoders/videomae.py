"""VideoMAE, built with `transformers`."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from examples.etad.encoders.normalise import IMAGENET, Normalise
from examples.etad.encoders.staged import Mean, StagedEncoder

_PATCH_SIZE = 16
_TUBELET_SIZE = 2


def videomae(
    *,
    hidden_size: int,
    num_layers: int,
    num_heads: int,
    frames_per_snippet: int = 16,
    frame_size: int = 224,
) -> StagedEncoder:
    """Return a VideoMAE without its classifier; features are the normalised mean of its tokens.

    Args:
        hidden_size: Channels of tokens and features.
        num_layers: Transformer layers, each a stage.
        num_heads: Attention heads of each.
        frames_per_snippet: Frames of every snippet; a multiple of 2.
        frame_size: Height and width of every frame; a multiple of 16.

    Raises:
        ImportError: If `transformers` is not installed.
        ValueError: If a snippet cannot be divided into patches.

    Example:
        >>> import torch
        >>> encoder = videomae(
        ...     hidden_size=32, num_layers=2, num_heads=4, frames_per_snippet=4, frame_size=32
        ... )
        >>> encoder(torch.zeros(2, 3, 4, 32, 32, dtype=torch.uint8)).shape
        torch.Size([2, 32])
    """
    _check_multiple("frames_per_snippet", frames_per_snippet, unit=_TUBELET_SIZE)
    _check_multiple("frame_size", frame_size, unit=_PATCH_SIZE)
    model = _transformer(
        image_size=frame_size,
        num_frames=frames_per_snippet,
        patch_size=_PATCH_SIZE,
        tubelet_size=_TUBELET_SIZE,
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        intermediate_size=4 * hidden_size,
    )
    layers = {f"layer{number + 1}": layer for number, layer in enumerate(model.encoder.layer)}
    parts = {
        "normalise": Normalise(IMAGENET),
        "stem": _Tokens(model.embeddings, shape=(frames_per_snippet, frame_size, frame_size)),
        **layers,
        "pool": nn.Sequential(Mean(1), nn.LayerNorm(hidden_size)),
    }
    return StagedEncoder(parts, feature_channels=hidden_size)


def _check_multiple(name: str, value: int, *, unit: int) -> None:
    if value < unit or value % unit:
        raise ValueError(f"videomae({name}={value}): expected a positive multiple of {unit}.")


def _transformer(**settings: Any) -> Any:
    """Return the model of `transformers` with these settings."""
    try:
        from transformers import VideoMAEConfig, VideoMAEModel
    except ImportError as error:
        raise ImportError(
            "videomae: this encoder needs the package transformers, which cannot be imported. "
            "Install it with `pip install transformers`, or choose another encoder."
        ) from error
    return VideoMAEModel(VideoMAEConfig(**settings))


class _Tokens(nn.Module):
    """Cut snippets into patches and embed each with its position."""

    def __init__(self, embeddings: nn.Module, *, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = embeddings
        # A plain attribute would be copied to the device again for each micro-batch.
        table: Any = embeddings.position_embeddings
        del embeddings.position_embeddings
        embeddings.register_buffer("position_embeddings", table, persistent=False)

    def forward(
        self, snippets: Float[Tensor, "items 3 frames height width"]
    ) -> Float[Tensor, "items tokens channels"]:
        if snippets.shape[2:] != self.shape:
            raise ValueError(
                f"videomae(snippets=...): expected (frames, height, width) = {self.shape}, got "
                f"{tuple(snippets.shape[2:])}. The positions of its tokens are fixed when it is "
                "built: by frames_per_snippet and frame_size."
            )
        tokens: Tensor = self.embeddings(snippets.transpose(1, 2), None)
        return tokens
