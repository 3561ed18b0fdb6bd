"""Running a model on videos: detections in seconds."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from examples.etad.data.dataset import Batch
from examples.etad.detectors.etad.output import DetectorOutput
from examples.etad.detectors.etad.postprocess import postprocess
from examples.etad.detectors.etad.postprocess_config import PostprocessConfig
from examples.etad.end_to_end import ETAD
from examples.etad.segments import Detections


@dataclass(frozen=True, eq=False)
class Prediction:
    """The detections and boundary probabilities of one video.

    Attributes:
        detections: Each with a class, if the detector classifies; else the same as `actions`.
        actions: Detections without regard to the class; each segment appears once.
        startness: Probability that an action starts in the snippet.
        endness: Probability that an action ends in it.
        duration_s: Duration of the video.
    """

    detections: Detections
    actions: Detections
    startness: Float[Tensor, " snippets"]
    endness: Float[Tensor, " snippets"]
    duration_s: float


@torch.no_grad()
def predict(
    model: ETAD, batches: Iterable[Batch], config: PostprocessConfig
) -> dict[str, Prediction]:
    """Detect the actions of all videos, by id.

    Args:
        model: Put into evaluation mode and back.
        batches: The videos.
        config: Post-processing.
    """
    was_training = model.training
    model.eval()
    predictions = {}
    for batch in batches:
        output = model(batch["frames"])
        for video, video_id in enumerate(batch["video_id"]):
            duration_s = float(batch["duration_s"][video])
            predictions[video_id] = _of_video(output, video, duration_s=duration_s, config=config)
    model.train(was_training)
    return predictions


def _of_video(
    output: DetectorOutput, video: int, *, duration_s: float, config: PostprocessConfig
) -> Prediction:
    startness, endness = output.startness[video].cpu(), output.endness[video].cpu()
    detect = partial(
        postprocess,
        # The mean over the stages of the cascade (supplement A.4).
        torch.stack([stage.refined[video] for stage in output.stages]).mean(dim=0).cpu(),
        torch.stack([stage.tiou[video] for stage in output.stages]).mean(dim=0).cpu(),
        startness=startness,
        endness=endness,
        duration_s=duration_s,
        config=config,
    )
    actions = detections = detect()
    probabilities = output.stages[-1].class_probabilities
    if probabilities is not None:
        detections = detect(class_probabilities=probabilities[video].cpu())
    return Prediction(detections, actions, startness, endness, duration_s)
