"""The files that show an evaluation: tables, detections and pictures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from examples.etad.evaluation.evaluate_model import Evaluation
from examples.etad.evaluation.report import format_markdown, format_table
from examples.etad.pictures.curves import plot_metrics
from examples.etad.pictures.timeline import plot_timeline
from examples.etad.segments import Detections, GroundTruth


def report(evaluation: Evaluation) -> str:
    """Return the tables of an evaluation for a terminal."""
    return "\n\n".join(
        f"mAP in percent, {name}\n{format_table(metrics)}"
        for name, metrics in evaluation.metrics.items()
    )


def write_results(
    folder: Path, evaluation: Evaluation, *, classes: Sequence[str], num_timelines: int = 4
) -> list[Path]:
    """Write detections, tables and pictures; return the files.

    Args:
        folder: Made if missing.
        evaluation: What to write.
        classes: Names of the labels.
        num_timelines: Videos to draw, those with most instances first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = [
        f"## {name}\n\n{format_markdown(metrics)}\n" for name, metrics in evaluation.metrics.items()
    ]
    (folder / "results.md").write_text("# mAP in percent\n\n" + "\n".join(tables))
    numbers = {name: metrics.to_dict() for name, metrics in evaluation.metrics.items()}
    (folder / "results.json").write_text(json.dumps(numbers, indent=2))
    classifies = "per class" in evaluation.metrics
    write_detections(
        folder / "detections.json",
        {video_id: p.detections for video_id, p in evaluation.predictions.items()},
        classes=classes if classifies else ["action"],
    )
    plot_metrics(folder / "map.png", evaluation.metrics)
    drawn = [
        _draw_timeline(folder, evaluation, video_id, classes=classes, class_agnostic=not classifies)
        for video_id in _busiest(evaluation.ground_truth, num_timelines)
    ]
    return [folder / "results.md", folder / "detections.json", folder / "map.png", *drawn]


def write_detections(
    path: Path, detections: Mapping[str, Detections], *, classes: Sequence[str]
) -> None:
    """Write detections in ActivityNet's result format."""
    results = {
        video_id: [
            {"label": classes[label], "score": score, "segment": segment}
            for segment, score, label in zip(
                found.segments_s.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
            )
        ]
        for video_id, found in detections.items()
    }
    path.write_text(json.dumps({"version": "1.3", "results": results}, indent=1))


def _busiest(ground_truth: Mapping[str, GroundTruth], count: int) -> list[str]:
    return sorted(ground_truth, key=lambda video_id: -len(ground_truth[video_id]))[:count]


def _draw_timeline(
    folder: Path,
    evaluation: Evaluation,
    video_id: str,
    *,
    classes: Sequence[str],
    class_agnostic: bool,
) -> Path:
    prediction = evaluation.predictions[video_id]
    path = folder / f"timeline_{video_id}.png"
    plot_timeline(
        path,
        video_id=video_id,
        duration_s=prediction.duration_s,
        detections=prediction.detections,
        ground_truth=evaluation.ground_truth[video_id],
        startness=prediction.startness,
        endness=prediction.endness,
        class_names=classes,
        class_agnostic=class_agnostic,
    )
    return path
