"""The ETAD detector as the head of a step, on a fixed part of the proposals."""

import torch
from torch import Tensor, nn

from examples.etad.detectors.etad.detector import Detector


class DetectorHead(nn.Module):
    """The detector on evenly spaced proposals, and the mean square of what it predicts.

    The real losses need annotated segments, which a dry run does not have. Their memory and time
    are a small part of the detector's.

    Args:
        detector: The detector.
        num_videos: Videos of the batch; all have the same number of items.
        ratio: Fraction of the dense proposals to evaluate, in (0, 1].
    """

    def __init__(self, detector: Detector, *, num_videos: int, ratio: float = 0.06) -> None:
        super().__init__()
        self.num_videos = num_videos
        self.ratio = ratio
        self.detector = detector

    def forward(self, features: Tensor) -> Tensor:
        """Return the loss of the features `[N, channels]` or `[videos, snippets, channels]`."""
        features = features.view(self.num_videos, -1, features.shape[-1])
        proposals = _spread_proposals(features, self.ratio).expand(self.num_videos, -1, -1)
        output = self.detector(features, proposals)
        predictions = [output.startness_logits, output.endness_logits]
        for stage in output.stages:
            predictions += [stage.tiou_logits, stage.boundary_logits, stage.offsets]
        return torch.stack([x.float().square().mean() for x in predictions]).sum()


def _spread_proposals(features: Tensor, ratio: float) -> Tensor:
    """Return evenly spaced dense proposals, in shapes that do not depend on values."""
    num_snippets, device = features.shape[1], features.device
    first, last = torch.triu_indices(num_snippets, num_snippets, device=device)
    count = max(1, round(ratio * len(first)))
    index = torch.linspace(0, len(first) - 1, count, device=device).long()
    return torch.stack([first, last + 1], dim=1)[index].to(features.dtype) / num_snippets
