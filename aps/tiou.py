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
        ValueError: If an argument is not of shape [segments, 2].

    Example:
        >>> pairwise_tiou(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 3.0], [5.0, 6.0]]))
        tensor([[0.3333, 0.0000]])
    """
    for name, value in (("segments", segments), ("others", others)):
        if value.ndim != 2 or value.shape[1] != 2:
            raise ValueError(
                f"pairwise_tiou({name}=...): expected shape [segments, 2], got "
                f"{list(value.shape)}. Pass one (start, end) per row."
            )
    start = torch.maximum(segments[:, None, 0], others[None, :, 0])
    end = torch.minimum(segments[:, None, 1], others[None, :, 1])
    intersection = (end - start).clamp(min=0)
    lengths = (segments[:, 1] - segments[:, 0])[:, None] + (others[:, 1] - others[:, 0])[None]
    union = lengths - intersection
    # The smallest normal number only replaces a union of zero: it changes no other quotient.
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)
