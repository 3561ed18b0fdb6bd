"""Temporal intersection over union."""

import torch
from jaxtyping import Float
from torch import Tensor


def pairwise_tiou(
    segments: Float[Tensor, "first 2"], others: Float[Tensor, "second 2"]
) -> Float[Tensor, "first second"]:
    """Return the temporal intersection over union of every pair of segments.

    Any unit will do as long as both arguments share it. Exact for segments that share a bound.

    Args:
        segments: (start, end) with start <= end.
        others: (start, end) with start <= end.

    Returns:
        tIoU in [0, 1]; 0, never NaN, where both segments have length zero.

    Raises:
        ValueError: If an argument is not floating point of shape [segments, 2].

    Example:
        >>> pairwise_tiou(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 3.0], [5.0, 6.0]]))
        tensor([[0.3333, 0.0000]])
    """
    for name, value in (("segments", segments), ("others", others)):
        if value.ndim != 2 or value.shape[1] != 2 or not value.is_floating_point():
            raise ValueError(
                f"pairwise_tiou({name}=...): expected a floating point tensor of shape [segments, "
                f"2], got {value.dtype} of shape {list(value.shape)}. Pass one (start, end) per "
                "row."
            )
    start = torch.maximum(segments[:, None, 0], others[None, :, 0])
    end = torch.minimum(segments[:, None, 1], others[None, :, 1])
    intersection = (end - start).clamp(min=0)
    lengths = (segments[:, 1] - segments[:, 0])[:, None] + (others[:, 1] - others[:, 0])[None]
    union = lengths - intersection
    # Where the union is zero, so is the intersection: 0 / 1 instead of 0 / 0.
    return intersection / union.masked_fill(union == 0, 1)
