"""Detect the actions in one video file.

    python examples/etad/detect.py my_video.mp4
    python examples/etad/detect.py my_video.mp4 --checkpoint runs/mine/checkpoint.pt --top 10

Writes the segments as JSON and as a picture, and prints the best.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.etad.data.annotations.activitynet import VideoAnnotation
from examples.etad.data.dataset import collate
from examples.etad.data.from_settings import open_dataset
from examples.etad.data.video.decoding import probe
from examples.etad.end_to_end import ETAD
from examples.etad.evaluation.inference import Prediction, predict
from examples.etad.pictures.timeline import plot_timeline
from examples.etad.segments import Detections
from examples.etad.settings.loading import config_from
from examples.etad.training.checkpoint import load_checkpoint


def main() -> None:
    arguments = parse_arguments()
    checkpoint = load_checkpoint(arguments.checkpoint)
    config = config_from(checkpoint["config"])
    model = ETAD(config, pretrained=False)
    model.load_state_dict(checkpoint["model"])
    classes = tuple(checkpoint["classes"]) if config.detector.num_classes else ("action",)
    video = VideoAnnotation(
        video_id=arguments.video.stem,
        path=arguments.video,
        duration_s=probe(arguments.video).duration_s,
        subset="",
        segments_s=(),
        labels=(),
    )
    dataset = open_dataset([video], config.data, classes=classes)
    prediction = predict(model, [collate([dataset[0]])], config.postprocess)[video.video_id]
    write(arguments.output, prediction, video, classes=classes, top=arguments.top)


def write(
    folder: Path,
    prediction: Prediction,
    video: VideoAnnotation,
    *,
    classes: tuple[str, ...],
    top: int,
) -> None:
    """Write the best detections as JSON and as a picture, and print them."""
    best = prediction.detections.top(top)
    segments = rows_of(best, classes)
    folder.mkdir(parents=True, exist_ok=True)
    result = {"video": str(video.path), "duration_s": video.duration_s, "segments": segments}
    json_path = folder / f"{video.video_id}.json"
    json_path.write_text(json.dumps(result, indent=1))
    picture = folder / f"{video.video_id}.png"
    plot_timeline(
        picture,
        video_id=video.video_id,
        duration_s=video.duration_s,
        detections=best,
        startness=prediction.startness,
        endness=prediction.endness,
        class_names=classes,
    )
    print(table(segments))
    print(f"wrote {json_path} and {picture}")


def rows_of(found: Detections, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row for each detection, ready for JSON."""
    return [
        {"label": classes[label], "score": score, "start_s": start_s, "end_s": end_s}
        for (start_s, end_s), score, label in zip(
            found.segments_s.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        )
    ]


def table(segments: Sequence[Mapping[str, Any]]) -> str:
    """Return the segments for a terminal, one per line."""
    lines = [
        f"{row['start_s']:7.2f}s {row['end_s']:7.2f}s  {row['score']:.3f}  {row['label']}"
        for row in segments
    ]
    return "\n".join(["   start      end  score  label", *lines])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path, help="any file that FFmpeg can decode")
    parser.add_argument(
        "--checkpoint", type=Path, default=Path("runs/synthetic/checkpoint.pt"), help="by train.py"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/detect"), help="folder")
    parser.add_argument("--top", type=int, default=20, help="segments to report")
    return parser.parse_args()


if __name__ == "__main__":
    main()
