"""Checks of what `ProposalSampler` is told of the videos."""

from collections.abc import Sequence

from torch import Tensor

# How far from [0, 1] the rounding of a normalised time may lead.
_ROUNDING = 1e-5


def check_number_of_videos(batch_size: int, **given: Sequence[Tensor] | Tensor | None) -> None:
    """Refuse a batch size that is none, or that what is given does not have.

    Raises:
        ValueError: Likewise.
    """
    if not isinstance(batch_size, int) or batch_size < 0:
        got = batch_size if isinstance(batch_size, int) else type(batch_size).__name__
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
    """Refuse features that are no row for each snippet.

    Raises:
        ValueError: Likewise.
    """
    is_tensor = isinstance(features, Tensor)
    if not is_tensor or features.ndim != 3 or features.shape[1] != num_snippets:
        got = list(features.shape) if is_tensor else type(features).__name__
        raise ValueError(
            f"ProposalSampler(features=...): expected shape [{batch_size}, {num_snippets}, "
            f"channels] for num_snippets={num_snippets}, got {got}."
        )


def check_segments(gt_segments: Sequence[Tensor]) -> None:
    """Refuse ground truth that is not normalised, or whose ends come before its starts.

    Raises:
        ValueError: Likewise, or if an entry is no tensor of shape [instances, 2].
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
                "Divide seconds by the duration, and cut off what lies outside."
            )
