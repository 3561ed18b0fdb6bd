"""1-D RoI align as one interpolation matrix per proposal, in plain PyTorch.

A bin averages linear interpolations of the features at points of a regular grid. That is linear in
the features, so all bins of a proposal are one sparse [bins, snippets] matrix times the features,
and one batched matrix product serves all channels of all proposals, forward and backward.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_Points = Float[Tensor, "batch proposals bins points"]


def roi_align_1d(
    features: Float[Tensor, "batch channels snippets"],
    segments: Float[Tensor, "batch proposals 2"],
    *,
    num_bins: int,
    aligned: bool,
) -> Float[Tensor, "batch proposals channels bins"]:
    """Cut every segment into bins and return the mean feature of each.

    Equals torchvision's `roi_align` with an adaptive sampling ratio on an image of width 1.
    Differentiable with respect to the features; no gradient reaches the segments.

    Args:
        features: One feature per snippet and video.
        segments: (start, end) in snippets: the video is [0, snippets].
        num_bins: Bins per segment.
        aligned: See `interpolation_weights`.

    Returns:
        Bin means. Memory on the way: batch · proposals · num_bins · (snippets + channels) numbers.
    """
    weights = interpolation_weights(
        segments, num_snippets=features.shape[2], num_bins=num_bins, aligned=aligned
    )
    flat: Tensor = weights.to(features.dtype).flatten(1, 2) @ features.transpose(1, 2)
    bins: Tensor = flat.unflatten(1, (segments.shape[1], num_bins))
    return bins.transpose(2, 3)


@torch.no_grad()
def interpolation_weights(
    segments: Float[Tensor, "batch proposals 2"],
    *,
    num_snippets: int,
    num_bins: int,
    aligned: bool,
) -> Float[Tensor, "batch proposals bins snippets"]:
    """Return the weight of every snippet in every bin.

    A segment of length ℓ from s is sampled at s + (j + ½) ℓ / (g · bins), j = 0 … g · bins − 1,
    with g = ⌈ℓ / bins⌉ points in each bin. A point up to one snippet outside the video takes the
    outermost feature; a point farther away counts as a zero, as do the points of a segment that is
    not finite.

    Args:
        segments: (start, end) in snippets.
        num_snippets: Snippets of the video.
        num_bins: Bins per segment.
        aligned: Where the feature of snippet i lies. True: at i + ½, the middle of the snippet; a
            segment of no or negative length is all zeros. False: at i, half a snippet early, which
            is what the released code does; segments shorter than one snippet count as one
            snippet long.
    """
    points, share = _sampling_points(
        segments, num_snippets=num_snippets, num_bins=num_bins, aligned=aligned
    )
    lower = points.floor()
    fraction = points - lower
    lower = lower.long()
    upper = (lower + 1).clamp(max=num_snippets - 1)
    weights = points.new_zeros(*points.shape[:-1], num_snippets)
    weights.scatter_add_(-1, lower, (1 - fraction) * share)
    return weights.scatter_add_(-1, upper, fraction * share)


def _sampling_points(
    segments: Float[Tensor, "batch proposals 2"],
    *,
    num_snippets: int,
    num_bins: int,
    aligned: bool,
) -> tuple[
    Float[Tensor, "batch proposals bins points"], Float[Tensor, "batch proposals bins points"]
]:
    """Return where to interpolate, and the share of each point in its bin (0: not a point)."""
    # Half-precision positions would be off by up to a snippet.
    start, end = segments.to(torch.promote_types(segments.dtype, torch.float32)).unbind(-1)
    length = end - start
    if aligned:
        start, length = start - 0.5, length.clamp(min=0)
    else:
        length = length.clamp(min=1)
    finite = start.isfinite() & length.isfinite()
    start, length = start.where(finite, -2), length.where(finite, 0)
    per_bin = (length / num_bins).ceil()
    points_max = int(per_bin.max().clamp(min=1))
    point = torch.arange(points_max, device=segments.device)
    bin_index = torch.arange(num_bins, device=segments.device)[:, None]
    start, length, per_bin = (value[..., None, None] for value in (start, length, per_bin))
    bin_length = length / num_bins
    spacing = bin_length / per_bin.clamp(min=1)
    points = start + bin_index * bin_length + (point + 0.5) * spacing
    counts = (point < per_bin) & (points >= -1) & (points <= num_snippets)
    return points.clamp(0, num_snippets - 1), counts / per_bin.clamp(min=1)
