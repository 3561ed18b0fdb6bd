"""Videos after the first two stages of training: features and their gradients."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from examples.etad.data.dataset import Batch, VideoDataset, collate
from examples.etad.detectors.etad.config import DetectorConfig
from examples.etad.detectors.etad.losses import detection_loss
from examples.etad.end_to_end import ETAD
from sgs import EncodedItems


@dataclass(frozen=True)
class EncodedVideo:
    """One video, alone in its batch.

    Attributes:
        batch: The video with its ground truth.
        encoded: The first pass over the video, with the gradient of its features.
    """

    batch: Batch
    encoded: EncodedItems


def encode_videos(
    model: ETAD, dataset: VideoDataset, config: DetectorConfig, *, num_videos: int
) -> Iterator[EncodedVideo]:
    """Yield the first videos, one by one, with the gradient of the loss of training."""
    model.train()
    for number in range(num_videos):
        batch = collate([dataset[number]])
        # The same proposals and dropout for every model.
        torch.manual_seed(number)
        encoded = model.encode.encode(batch["frames"])
        index = model.propose(1, gt_segments=batch["gt_segments"], features=encoded.features)
        output = model.detector(encoded.features, model.propose.proposals[index])
        losses = detection_loss(
            output, batch["gt_segments"], gt_labels=batch["gt_labels"], config=config
        )
        losses["total"].backward()
        yield EncodedVideo(batch, encoded)
