"""The mAP of a model on annotated videos."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from examples.etad.data.annotations.activitynet import VideoAnnotation
from examples.etad.data.dataset import VideoDataset, collate
from examples.etad.end_to_end import ETAD
from examples.etad.evaluation.average_precision import evaluate_detections
from examples.etad.evaluation.inference import Prediction, predict
from examples.etad.evaluation.report import DetectionMetrics
from examples.etad.segments import GroundTruth
from examples.etad.settings.config import Config


@dataclass(frozen=True)
class Evaluation:
    """The result of a model on a subset.

    Attributes:
        metrics: By name: "class-agnostic", and "per class" if the detector classifies.
        predictions: By video id.
        ground_truth: By video id.
    """

    metrics: dict[str, DetectionMetrics]
    predictions: dict[str, Prediction]
    ground_truth: dict[str, GroundTruth]

    @property
    def average_map(self) -> float:
        """The class-agnostic average mAP, a fraction."""
        return self.metrics["class-agnostic"].average_map


def evaluate(
    model: ETAD,
    dataset: VideoDataset,
    annotations: Sequence[VideoAnnotation],
    *,
    classes: Sequence[str],
    config: Config,
) -> Evaluation:
    """Detect the actions of all videos of a data set and compare them with the annotations."""
    loader = DataLoader(
        dataset,
        batch_size=config.train.batch_size,
        num_workers=config.data.num_workers,
        collate_fn=collate,
    )
    batches = tqdm(loader, desc="evaluate", unit="batch", leave=False)
    predictions = predict(model, batches, config.postprocess)
    ground_truth = {video.video_id: ground_truth_of(video, classes) for video in annotations}
    actions = {video_id: prediction.actions for video_id, prediction in predictions.items()}
    metrics = {
        "class-agnostic": evaluate_detections(
            ground_truth, actions, class_names=classes, class_agnostic=True
        )
    }
    if config.detector.num_classes:
        labelled = {video_id: prediction.detections for video_id, prediction in predictions.items()}
        metrics["per class"] = evaluate_detections(ground_truth, labelled, class_names=classes)
    return Evaluation(metrics, predictions, ground_truth)


def ground_truth_of(video: VideoAnnotation, classes: Sequence[str]) -> GroundTruth:
    """Return the instances of a video as tensors."""
    return GroundTruth(
        segments_s=torch.tensor(video.segments_s, dtype=torch.float64).reshape(-1, 2),
        labels=torch.tensor([classes.index(label) for label in video.labels], dtype=torch.int64),
    )
