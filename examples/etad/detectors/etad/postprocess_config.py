"""The options of post-processing; the defaults are those of the released code."""

from dataclasses import dataclass
from typing import Literal, get_args

from examples.etad.detectors.soft_nms import check_settings

Score = Literal["iou", "boundary_iou"]


@dataclass(frozen=True)
class PostprocessConfig:
    """How proposals become detections.

    Args:
        score: "iou" multiplies the two predicted IoUs, as the released code does; "boundary_iou"
            multiplies them with the startness and endness at the bounds, as the paper says.
        boundary_gate: Drop proposals whose bounds are not at a likely start and end.
        sigma: Width of the decay of soft-NMS; smaller values suppress more.
        max_detections: Segments that soft-NMS keeps. Each is reported once per class.
        min_score: Candidates whose score falls below this in soft-NMS are dropped.
        top_classes: Classes reported per segment, the most probable first; fewer if there are
            fewer. Without class probabilities there is one class.
        nms_per_class: Let only segments of one class suppress each other: classes are given before
            soft-NMS instead of after it.

    Raises:
        ValueError: If `score` is unknown, `sigma` is not positive, or `max_detections` or
            `top_classes` is below 1.
    """

    score: Score = "iou"
    boundary_gate: bool = True
    sigma: float = 0.35
    max_detections: int = 100
    min_score: float = 0.0
    top_classes: int = 2
    nms_per_class: bool = False

    def __post_init__(self) -> None:
        check_settings("PostprocessConfig", sigma=self.sigma, max_detections=self.max_detections)
        if self.score not in get_args(Score):
            raise ValueError(
                f"PostprocessConfig(score={self.score!r}): expected one of {get_args(Score)}."
            )
        if self.top_classes < 1:
            raise ValueError(
                f"PostprocessConfig(top_classes={self.top_classes}): expected at least 1. For "
                "detections without a class pass no class_probabilities."
            )
