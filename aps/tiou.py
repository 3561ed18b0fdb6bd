"""Temporal intersection over union."""

import torch
from jaxtyping import Float
from torch import Tensor


def pairwise_tiou(
    segments: Float[Tensor, "first 2"], others: Float[Tensor, "second 2"]
) -> Float[Tensor, "first second"]:
    """Return the temporal intersection over union of every pair of segments.

    Both arguments must have the same unit; any unit works.

    Args:
        segments: (start, end) with start <= end.
        others: (start, end) with start <= end.

    Returns:
        tIoU in [0, 1]; 0 if both segments have length zero.

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
    return paired_tiou(segments[:, None], others)


def paired_tiou(
    segments: Float[Tensor, "*#batch 2"], others: Float[Tensor, "*#batch 2"]
) -> Float[Tensor, "*batch"]:
    """Return the tIoU of each segment and the other at the same position; 0 if both are empty.

    Args:
        segments: (start, end) with start <= end.
        others: (start, end) with start <= end, broadcast against `segments`.
    """
    (start, end), (other_start, other_end) = segments.unbind(dim=-1), others.unbind(dim=-1)
    intersection = torch.minimum(end, other_end) - torch.maximum(start, other_start)
    # From the first start to the last end: the union, if the two intersect.
    hull = torch.maximum(end, other_end) - torch.minimum(start, other_start)
    # If the hull has length 0, the intersection has too: 0 / 1 instead of 0 / 0.
    return intersection.clamp(min=0) / hull.masked_fill(hull == 0, 1)
