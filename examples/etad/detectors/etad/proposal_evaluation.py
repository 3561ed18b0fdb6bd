"""Proposal evaluation: one stage of the cascade (supplement A.2, table 2)."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from examples.etad.detectors.etad.config import DetectorConfig
from examples.etad.detectors.etad.offsets import refine
from examples.etad.detectors.etad.output import StageOutput
from examples.etad.detectors.etad.roi_align import roi_align_1d


class ProposalEvaluation(nn.Module):
    """Score and refine proposals from the features inside and around them.

    Args:
        config: Widths, bins and heads.
        num_classes: Classes to tell apart; 0: no classification head.
    """

    def __init__(self, config: DetectorConfig, *, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.sequence = StageSequence(config)
        whole = config.roi_channels * config.roi_bins
        shared = config.trunk == "shared"
        self.trunk = nn.Sequential(*_mlp(whole, config.trunk_size)) if shared else nn.Identity()
        joint = config.start_end_heads == "joint"
        self.tiou_head = _whole_head(config, 2)
        self.boundary_head = _whole_head(config, 2)
        self.offset_head = _whole_head(config, 4 if joint else 2)
        self.start_head = None if joint else _boundary_offset_head(config)
        self.end_head = None if joint else _boundary_offset_head(config)
        self.class_head = nn.Linear(config.roi_channels, num_classes) if num_classes else None

    def forward(
        self,
        sequence: Float[Tensor, "batch roi_channels snippets"],
        proposals: Float[Tensor, "batch proposals 2"],
    ) -> StageOutput:
        """Evaluate proposals on the output of `self.sequence`."""
        config = self.config
        bins = roi_align_1d(
            sequence,
            _with_context(proposals, ratio=config.context_ratio) * sequence.shape[2],
            num_bins=config.roi_bins,
            aligned=config.roi_aligned,
        )
        feature = self.trunk(bins.flatten(2))
        offsets = self._offsets(bins, feature)
        return StageOutput(
            proposals=proposals,
            refined=refine(proposals, offsets.detach()),
            tiou_logits=self.tiou_head(feature),
            boundary_logits=self.boundary_head(feature),
            offsets=offsets,
            class_logits=self._class_logits(sequence, proposals),
        )

    def _class_logits(
        self,
        sequence: Float[Tensor, "batch roi_channels snippets"],
        proposals: Float[Tensor, "batch proposals 2"],
    ) -> Float[Tensor, "batch proposals classes"] | None:
        """Classify the mean feature inside a proposal.

        Linear, which gives every snippet of an action a short path to the loss. A head as deep as
        the others, trained from scratch, has not learned when the learning rate is almost 0.
        """
        if self.class_head is None:
            return None
        inside = roi_align_1d(
            sequence,
            proposals * sequence.shape[2],
            num_bins=self.config.roi_bins,
            aligned=self.config.roi_aligned,
        )
        logits: Tensor = self.class_head(inside.mean(dim=-1))
        return logits

    def _offsets(
        self,
        bins: Float[Tensor, "batch proposals roi_channels bins"],
        feature: Float[Tensor, "batch proposals features"],
    ) -> Float[Tensor, "batch proposals 4"]:
        """Return the offsets of start, end, centre and width."""
        outputs = self.offset_head(feature)
        if self.start_head is None or self.end_head is None:
            start_end, centre_width = outputs.chunk(2, dim=-1)
        else:
            count = self.config.boundary_bins
            start = self.start_head(bins[..., :count].flatten(2))
            end = self.end_head(bins[..., -count:].flatten(2))
            start_end, centre_width = torch.cat([start, end], dim=-1), outputs
        return torch.cat([start_end, centre_width / self.config.centre_width_divisor], dim=-1)


class StageSequence(nn.Module):
    """The features of one stage, before they are cut into proposals.

    Args:
        config: Widths and groups.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.residual = (
            nn.Sequential(
                nn.Conv1d(hidden, hidden, 3, padding=1, groups=config.conv_groups), nn.ReLU()
            )
            if config.stage_conv
            else None
        )
        self.reduce = nn.Sequential(nn.Conv1d(hidden, config.roi_channels, 3, padding=1), nn.ReLU())

    def forward(
        self, features: Float[Tensor, "batch hidden snippets"]
    ) -> Float[Tensor, "batch roi_channels snippets"]:
        if self.residual is not None:
            features = features + self.residual(features)
        reduced: Tensor = self.reduce(features)
        return reduced


def _with_context(
    proposals: Float[Tensor, "batch proposals 2"], *, ratio: float
) -> Float[Tensor, "batch proposals 2"]:
    """Extend by `ratio` lengths on either side."""
    context = ratio * (proposals[..., 1:] - proposals[..., :1])
    return torch.cat([proposals[..., :1] - context, proposals[..., 1:] + context], dim=-1)


def _whole_head(config: DetectorConfig, num_outputs: int) -> nn.Sequential:
    """Return a head on the whole feature, behind the shared trunk or with a trunk of its own."""
    head = config.head_size
    sizes = [config.trunk_size, head, head, head, num_outputs]
    if config.trunk == "own":
        sizes = [config.roi_channels * config.roi_bins, *sizes]
    return nn.Sequential(*_mlp(*sizes)[:-1])


def _boundary_offset_head(config: DetectorConfig) -> nn.Sequential:
    """Return a head on the bins at one end of the proposal."""
    head = config.head_size
    whole = config.roi_channels * config.boundary_bins
    return nn.Sequential(*_mlp(whole, config.trunk_size, head, head, head, 1)[:-1])


def _mlp(*sizes: int) -> list[nn.Module]:
    """Return linear layers of these sizes, each followed by a ReLU."""
    layers: list[nn.Module] = []
    for size, next_size in pairwise(sizes):
        layers += [nn.Linear(size, next_size), nn.ReLU()]
    return layers
