"""The dense map of candidate proposals (paper section 3.4)."""

from numbers import Integral

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def proposal_map(
    num_snippets: int, max_duration: int | None = None
) -> Bool[Tensor, "durations starts"]:
    """Return the valid cells of the proposal map.

    Row d holds the proposals of d + 1 snippets, column s those that start at snippet s. A cell is
    valid if the proposal ends inside the video.

    Args:
        num_snippets: Snippets of the video, at least 1.
        max_duration: Longest proposal in snippets, in [1, `num_snippets`]; `num_snippets` if None.

    Raises:
        ValueError: If an argument is out of its range.
    """
    if not isinstance(num_snippets, Integral) or num_snippets < 1:
        raise ValueError(
            f"proposal_map(num_snippets={num_snippets!r}): expected an integer of at least 1. "
            "Cut the video into one snippet or more."
        )
    durations = num_snippets if max_duration is None else max_duration
    if not isinstance(durations, Integral) or not 1 <= durations <= num_snippets:
        raise ValueError(
            f"proposal_map(max_duration={max_duration!r}): expected a number of snippets in "
            f"[1, {num_snippets}], or None for no limit."
        )
    starts = torch.arange(int(num_snippets))
    return torch.arange(int(durations))[:, None] + starts < num_snippets


def dense_proposals(
    num_snippets: int, max_duration: int | None = None
) -> Float[Tensor, "proposals 2"]:
    """Enumerate every proposal of a video, ordered by duration, then by start.

    Without a limit, N snippets have N (N + 1) / 2 proposals: 8,256 for 128, as in the released
    code. (The paper's N (N - 1) / 2 leaves out the N proposals of a single snippet.)

    Args:
        num_snippets: Snippets of the video, at least 1.
        max_duration: Longest proposal in snippets; `num_snippets` if None.

    Returns:
        (start, end), normalised to [0, 1] by the duration of the video, float32.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> dense_proposals(128).shape
        torch.Size([8256, 2])
    """
    return segments_of(proposal_map(num_snippets, max_duration))


def segments_of(valid: Bool[Tensor, "durations starts"]) -> Float[Tensor, "proposals 2"]:
    """Return the proposals of a map, in the order of `dense_proposals`, on the map's device."""
    duration, start = valid.nonzero(as_tuple=True)
    return torch.stack([start, start + duration + 1], dim=1).float() / valid.shape[1]
