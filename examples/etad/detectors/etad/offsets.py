"""Boundary offsets of a proposal, and its refinement by them (supplement A.2)."""

import torch
from jaxtyping import Float
from torch import Tensor

MIN_SCALE = 1e-4
"""Shortest refined proposal, as a fraction of the video: far below a snippet."""


def encode_offsets(
    proposals: Float[Tensor, "... 2"], segments: Float[Tensor, "... 2"]
) -> Float[Tensor, "... 4"]:
    """Return the offsets that take each proposal exactly to its segment.

    Args:
        proposals: (start, end), normalised.
        segments: (start, end) to reach, one per proposal.

    Returns:
        Offsets of start, end, centre and width in lengths of the proposal (the width's is the
        logarithm of the ratio). Lengths count as 1e-6 at least, so all offsets are finite.
    """
    length = _length(proposals).clamp(min=1e-6)
    start, end = ((segments - proposals) / length[..., None]).unbind(-1)
    log_width = (_length(segments).clamp(min=1e-6) / length).log()
    return torch.stack([start, end, (start + end) / 2, log_width], dim=-1)


def refine(
    proposals: Float[Tensor, "... 2"], offsets: Float[Tensor, "... 4"]
) -> Float[Tensor, "... 2"]:
    """Move each proposal by its offsets: the mean of the start-end and of the centre-width answer.

    The result is clipped to [0, 1] and made at least `MIN_SCALE` long, which keeps the cascade sane
    where the released code has no bounds. As ground truth lies inside [0, 1] as well, clipping
    never lowers a tIoU.

    Args:
        proposals: (start, end), normalised.
        offsets: Of start, end, centre and width, as `encode_offsets` defines them.

    Returns:
        (start, end), in the precision of `proposals`.
    """
    offsets = offsets.to(proposals.dtype)
    length, centre = _length(proposals), proposals.mean(dim=-1)
    by_boundary = proposals + length[..., None] * offsets[..., :2]
    centre = centre + length * offsets[..., 2]
    # An exponential that overflows is harmless: clipping takes infinity to the whole video.
    half = length * offsets[..., 3].exp() / 2
    by_centre = torch.stack([centre - half, centre + half], dim=-1)
    return _inside_video((by_boundary + by_centre) / 2)


def _length(segments: Float[Tensor, "... 2"]) -> Float[Tensor, "..."]:
    return segments[..., 1] - segments[..., 0]


def _inside_video(segments: Float[Tensor, "... 2"]) -> Float[Tensor, "... 2"]:
    """Clip to [0, 1]; give what is too short or reversed the least length around its centre."""
    segments = segments.clamp(0, 1)
    half = MIN_SCALE / 2
    centre = segments.mean(dim=-1).clamp(half, 1 - half)
    shortest = torch.stack([centre - half, centre + half], dim=-1)
    return torch.where((_length(segments) < MIN_SCALE)[..., None], shortest, segments)
