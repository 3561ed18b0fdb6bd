"""The annotated and the detected segments of one video."""

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotated action instances of one video.

    Args:
        segments_s: (start, end) of each instance in seconds, start <= end.
        labels: Class of each instance, a position in the list of class names.

    Raises:
        TypeError: If a tensor has the wrong dtype.
        ValueError: If the shapes disagree, a time is not finite, a segment ends before it starts,
            or a label is negative.
    """

    segments_s: Float[Tensor, "instances 2"]
    labels: Int64[Tensor, " instances"]

    def __post_init__(self) -> None:
        _check_segments("GroundTruth", self.segments_s)
        _check_labels("GroundTruth", self.labels, count=len(self.segments_s))

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Detections:
    """The segments that a detector found in one video.

    Args:
        segments_s: (start, end) of each detection in seconds, start <= end.
        scores: Confidence of each detection; only the order matters. Any order of rows is fine.
        labels: Class of each detection, a position in the list of class names.

    Raises:
        TypeError: If a tensor has the wrong dtype.
        ValueError: If the shapes disagree, a time or a score is not finite, a segment ends before
            it starts, or a label is negative.
    """

    segments_s: Float[Tensor, "detections 2"]
    scores: Float[Tensor, " detections"]
    labels: Int64[Tensor, " detections"]

    def __post_init__(self) -> None:
        _check_segments("Detections", self.segments_s)
        _check_scores(self.scores, count=len(self.segments_s))
        _check_labels("Detections", self.labels, count=len(self.segments_s))

    def __len__(self) -> int:
        return len(self.labels)

    def top(self, count: int) -> Self:
        """Return the `count` best detections, best first; equal scores keep their order."""
        index = self.scores.argsort(descending=True, stable=True)[:count]
        return type(self)(self.segments_s[index], self.scores[index], self.labels[index])


def _check_segments(owner: str, segments_s: Tensor) -> None:
    if segments_s.ndim != 2 or segments_s.shape[1] != 2:
        raise ValueError(
            f"{owner}(segments_s=...): expected shape [count, 2], got {list(segments_s.shape)}. "
            "Pass one (start, end) per row; torch.empty(0, 2) for none."
        )
    if not segments_s.is_floating_point():
        raise TypeError(
            f"{owner}(segments_s=...): expected floating-point seconds, got {segments_s.dtype}."
        )
    if not bool(segments_s.isfinite().all()):
        row = int((~segments_s.isfinite().all(dim=1)).nonzero()[0])
        raise ValueError(
            f"{owner}(segments_s=...): expected finite times, got {segments_s[row].tolist()} in "
            f"row {row}. The detector or the annotation that it comes from is broken."
        )
    reversed_rows = segments_s[:, 0] > segments_s[:, 1]
    if bool(reversed_rows.any()):
        row = int(reversed_rows.nonzero()[0])
        raise ValueError(
            f"{owner}(segments_s=...): expected start <= end, got {segments_s[row].tolist()} in "
            f"row {row} ({int(reversed_rows.sum())} such rows). Drop or swap them."
        )


def _check_scores(scores: Tensor, *, count: int) -> None:
    if scores.shape != (count,):
        raise ValueError(
            f"Detections(scores=...): expected shape [{count}], one score per segment, got "
            f"{list(scores.shape)}."
        )
    if not scores.is_floating_point():
        raise TypeError(
            f"Detections(scores=...): expected floating-point scores, got {scores.dtype}."
        )
    if not bool(scores.isfinite().all()):
        row = int((~scores.isfinite()).nonzero()[0])
        raise ValueError(
            f"Detections(scores=...): expected finite scores, got {scores[row].item()} in row "
            f"{row}. Detections without an order cannot be ranked."
        )


def _check_labels(owner: str, labels: Tensor, *, count: int) -> None:
    if labels.shape != (count,):
        raise ValueError(
            f"{owner}(labels=...): expected shape [{count}], one label per segment, got "
            f"{list(labels.shape)}."
        )
    if labels.dtype != torch.int64:
        raise TypeError(f"{owner}(labels=...): expected torch.int64, got {labels.dtype}.")
    if bool((labels < 0).any()):
        raise ValueError(
            f"{owner}(labels=...): expected positions in the list of class names, got "
            f"{int(labels.min())}. Leave out segments that have no class."
        )
