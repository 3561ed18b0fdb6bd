"""The result of an evaluation, as numbers, as JSON and as a table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class DetectionMetrics:
    """Average precision of a set of detections. Every AP and mAP is a fraction in [0, 1].

    Args:
        tiou_thresholds: Thresholds that the other tuples follow.
        map_per_tiou: Mean AP over the classes with ground truth, per threshold.
        average_map: Mean of `map_per_tiou`.
        ap_per_class: AP of each class with ground truth, per threshold.
        classes_without_ground_truth: Classes that have no AP and are not in the mean.
        num_videos: Videos of the ground truth.
        num_instances: Annotated instances.
        num_detections: Detections.
        num_ignored_detections: Detections of `classes_without_ground_truth`, which count nowhere.
        videos_without_ground_truth: Videos that can only collect false positives.
        videos_without_detections: Videos whose instances are all missed.
    """

    tiou_thresholds: tuple[float, ...]
    map_per_tiou: tuple[float, ...]
    average_map: float
    ap_per_class: dict[str, tuple[float, ...]]
    classes_without_ground_truth: tuple[str, ...]
    num_videos: int
    num_instances: int
    num_detections: int
    num_ignored_detections: int
    videos_without_ground_truth: tuple[str, ...]
    videos_without_detections: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers, lists and strings under the names of the fields, ready for JSON."""
        plain = asdict(self)
        plain["ap_per_class"] = {name: list(ap) for name, ap in self.ap_per_class.items()}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}


def format_table(metrics: DetectionMetrics) -> str:
    """Return the mAP per threshold and their mean in percent, and the counts, for a terminal."""
    header, values = _columns(metrics)
    widths = [max(len(title), len(value)) for title, value in zip(header, values, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (header, values)
    ]
    return "\n".join([*lines, "", *_notes(metrics)])


def format_markdown(metrics: DetectionMetrics) -> str:
    """Return the mAP per threshold and their mean in percent as a markdown table."""
    header, values = _columns(metrics)
    return "\n".join(_markdown_row(row) for row in (header, ["---:"] * len(header), values))


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _columns(metrics: DetectionMetrics) -> tuple[list[str], list[str]]:
    header = ["tIoU", *(f"{threshold:.2f}" for threshold in metrics.tiou_thresholds), "average"]
    fractions = (*metrics.map_per_tiou, metrics.average_map)
    return header, ["mAP (%)", *(f"{100 * fraction:.2f}" for fraction in fractions)]


def _notes(metrics: DetectionMetrics) -> list[str]:
    """Return the counts, and remarks on what affects the mAP."""
    notes = [
        f"{_counted(metrics.num_detections, 'detection')}, "
        f"{_counted(metrics.num_instances, 'instance')} of "
        f"{_counted(len(metrics.ap_per_class), 'class', 'classes')} in "
        f"{_counted(metrics.num_videos, 'video')}"
    ]
    remarks = {
        "videos without detections": len(metrics.videos_without_detections),
        "videos without ground truth": len(metrics.videos_without_ground_truth),
        "classes without ground truth, not in the mean": len(metrics.classes_without_ground_truth),
        "detections of these classes, ignored": metrics.num_ignored_detections,
    }
    return notes + [f"{remark}: {count:,}" for remark, count in remarks.items() if count]


def _counted(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
