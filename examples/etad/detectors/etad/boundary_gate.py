"""Boundary selection: keep proposals that start and end where a boundary is likely (as in BMN)."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

_CELL_TOLERANCE = 1e-3


def boundary_mask(probability: Float[Tensor, " snippets"]) -> Bool[Tensor, " snippets"]:
    """Return where a boundary is likely: above half of the maximum, or a strict local peak.

    Outside the sequence the probability is taken for 0. A plateau below half of the maximum is not
    a peak.

    Args:
        probability: Startness or endness of each snippet.

    Example:
        >>> boundary_mask(torch.tensor([0.1, 0.0, 0.2, 0.1, 0.9, 0.3, 0.3, 0.0])).int().tolist()
        [1, 0, 1, 0, 1, 0, 0, 0]
    """
    padded = torch.nn.functional.pad(probability, (1, 1))
    is_peak = (probability > padded[:-2]) & (probability > padded[2:])
    return is_peak | (probability > 0.5 * probability.amax())


def pass_boundary_gate(
    segments: Float[Tensor, "proposals 2"],
    *,
    startness: Float[Tensor, " snippets"],
    endness: Float[Tensor, " snippets"],
) -> Bool[Tensor, " proposals"]:
    """Return which proposals start in a snippet of likely start and end in one of likely end.

    The first snippet always counts as a likely start, the last as a likely end.

    Args:
        segments: (start, end), normalised; bounds outside the video count as its ends.
        startness: Probability that an action starts in each snippet.
        endness: Probability that an action ends in each snippet.
    """
    may_start, may_end = boundary_mask(startness), boundary_mask(endness)
    may_start[0] = True
    may_end[-1] = True
    snippet = containing_snippet(segments, num_snippets=len(startness))
    return may_start[snippet[:, 0]] & may_end[snippet[:, 1]]


def containing_snippet(
    time: Float[Tensor, "*shape"], *, num_snippets: int
) -> Int64[Tensor, "*shape"]:
    """Return the snippet that contains each normalised time; the nearest for those outside.

    The border between two snippets belongs to the later one. Rounding must not change that: in
    floating point, 29 / 100 * 100 is less than 29.
    """
    return (time * num_snippets + _CELL_TOLERANCE).floor().long().clamp(0, num_snippets - 1)
