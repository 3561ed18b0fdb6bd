"""The ETAD detector as the head of a step, on a fixed part of the proposals."""

import torch
from torch import Tensor, nn

from aps import dense_proposals
from examples.etad.model.config import DetectorConfig
from examples.etad.model.detector import Detector

PROPOSAL_RATIO = 0.06


class DetectorHead(nn.Module):
    """The detector on evenly spaced proposals, and the mean square of what it predicts.

    The losses of the example look at the values of what is annotated, which a dry run does not
    have; their memory and time are a small part of the detector's own.

    Args:
        channels: Channels of the features.
        num_videos: Videos that the items belong to, as many items each.
        ratio: Part of the dense proposals that is evaluated, in (0, 1].
    """

    def __init__(self, channels: int, *, num_videos: int, ratio: float = PROPOSAL_RATIO) -> None:
        super().__init__()
        self.num_videos = num_videos
        self.ratio = ratio
        self.detector = Detector(DetectorConfig(), in_channels=channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return the loss of the features `[N, channels]` or `[videos, snippets, channels]`."""
        features = features.view(self.num_videos, -1, features.shape[-1])
        proposals = dense_proposals(features.shape[1]).to(features)
        count = round(self.ratio * len(proposals))
        index = torch.linspace(0, len(proposals) - 1, count, device=features.device).long()
        output = self.detector(features, proposals[index].expand(self.num_videos, -1, -1))
        predictions = [output.startness_logits, output.endness_logits]
        for stage in output.stages:
            predictions += [stage.tiou_logits, stage.boundary_logits, stage.offsets]
        return torch.stack([x.float().square().mean() for x in predictions]).sum()
