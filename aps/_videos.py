"""Checks of the arguments of `ProposalSampler` that describe the videos."""

from collections.abc import Sequence
from numbers import Integral

from torch import Tensor

# Tolerance around [0, 1], for the rounding of normalised times.
_ROUNDING = 1e-5


def check_number_of_videos(batch_size: int, **given: Sequence[Tensor] | Tensor | None) -> None:
    """Check the batch size, and that every other argument has one entry per video.

    Raises:
        ValueError: If it is not an integer of at least 0, or an argument has another length.
    """
    if not isinstance(batch_size, Integral) or batch_size < 0:
        got = batch_size if isinstance(batch_size, Integral) else type(batch_size).__name__
        raise ValueError(
            f"ProposalSampler(batch_size=...): expected the number of videos, got {got}. Pass "
            "len(features)."
        )
    for name, values in given.items():
        if values is not None and len(values) != batch_size:
            raise ValueError(
                f"ProposalSampler({name}=...): expected one entry for each of the {batch_size} "
                f"video(s), got {len(values)}."
            )


def check_features(features: Tensor, *, batch_size: int, num_snippets: int) -> None:
    """Check that features have one row per snippet.

    Raises:
        ValueError: If they do not.
    """
    is_tensor = isinstance(features, Tensor)
    if not is_tensor or features.ndim != 3 or features.shape[1] != num_snippets:
        got = list(features.shape) if is_tensor else type(features).__name__
        raise ValueError(
            f"ProposalSampler(features=...): expected shape [{batch_size}, {num_snippets}, "
            f"channels] for num_snippets={num_snippets}, got {got}."
        )


def check_segments(gt_segments: Sequence[Tensor]) -> None:
    """Check that ground truth is normalised, with start <= end.

    Raises:
        ValueError: If it is not, or if an entry is not a tensor of shape [instances, 2].
    """
    for video, segments in enumerate(gt_segments):
        is_tensor = isinstance(segments, Tensor)
        if not is_tensor or (len(segments) > 0 and segments.shape[1:] != (2,)):
            got = list(segments.shape) if is_tensor else type(segments).__name__
            raise ValueError(
                "ProposalSampler(gt_segments=...): expected a tensor of shape [instances, 2] for "
                f"each video, got {got} for video {video}. Pass torch.zeros(0, 2) if it has none."
            )
        start, end = segments.reshape(-1, 2).T
        fits = (start >= -_ROUNDING) & (start <= end) & (end <= 1 + _ROUNDING)
        if not fits.all():
            raise ValueError(
                "ProposalSampler(gt_segments=...): expected 0 <= start <= end <= 1, normalised by "
                f"the duration of the video, got {segments[~fits][0].tolist()} in video {video}. "
                "Divide seconds by the duration, and clip segments to the video."
            )
