"""The ETAD detector (paper section 3.1, supplement A)."""

from collections.abc import Iterable
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from examples.etad.detectors.etad.boundary_evaluation import BoundaryEvaluation
from examples.etad.detectors.etad.config import DetectorConfig
from examples.etad.detectors.etad.feature_enhancement import FeatureEnhancement
from examples.etad.detectors.etad.output import DetectorOutput, StageOutput, concatenate
from examples.etad.detectors.etad.proposal_evaluation import ProposalEvaluation


class Detector(nn.Module):
    """Score every snippet's startness and endness, and refine proposals in a cascade.

    Convolutions and linear layers start Xavier-uniform with zero bias, as released; the LSTM and
    the normalisations keep PyTorch's defaults.

    Args:
        config: Architecture; see `DetectorConfig` and its `PRESETS`.
        in_channels: Channels of the encoder's features, a multiple of `config.conv_groups`.

    Raises:
        ValueError: If `in_channels` is no multiple of `config.conv_groups`.

    Example:
        >>> import torch
        >>> detector = Detector(DetectorConfig(), in_channels=512)
        >>> output = detector(torch.rand(1, 16, 512), torch.tensor([[[0.25, 0.5]]]))
        >>> output.stages[-1].refined.shape
        torch.Size([1, 1, 2])
    """

    def __init__(self, config: DetectorConfig, *, in_channels: int) -> None:
        super().__init__()
        if in_channels < 1 or in_channels % config.conv_groups:
            raise ValueError(
                f"Detector(in_channels={in_channels}): expected a positive multiple of "
                f"conv_groups={config.conv_groups}, got {in_channels}. Change "
                "DetectorConfig.conv_groups or the width of the encoder."
            )
        self.config = config
        self.in_channels = in_channels
        self.enhancement = FeatureEnhancement(config, in_channels=in_channels)
        self.boundary = BoundaryEvaluation(config)
        last = len(config.tiou_thresholds) - 1
        self.stages = nn.ModuleList(
            ProposalEvaluation(config, num_classes=config.num_classes if i == last else 0)
            for i in range(last + 1)
        )
        self.apply(_initialise)

    def forward(
        self,
        features: Float[Tensor, "batch snippets channels"],
        proposals: Float[Tensor, "batch proposals 2"],
        *,
        proposal_chunk_size: int | None = None,
    ) -> DetectorOutput:
        """Detect actions among the proposals.

        Videos do not influence each other, nor do the proposals of a video.

        Args:
            features: One feature per snippet.
            proposals: (start, end) normalised to [0, 1], start < end.
            proposal_chunk_size: Proposals of each video evaluated at a time; all of them if None.
                Bounds the memory of evaluation and changes no result but for rounding.

        Raises:
            ValueError: If shapes or proposals are not as described, or the chunk size is below 1.
        """
        self._check_features(features)
        _check_proposals(proposals, batch_size=len(features))
        if proposal_chunk_size is not None and proposal_chunk_size < 1:
            raise ValueError(
                f"Detector(proposal_chunk_size={proposal_chunk_size}): expected at least 1, or "
                "None for all proposals at once."
            )
        enhanced = self.enhancement(features.transpose(1, 2))
        startness, endness = self.boundary(enhanced)
        stages = cast("Iterable[ProposalEvaluation]", self.stages)
        sequences = [stage.sequence(enhanced) for stage in stages]
        chunks = proposals.detach().split(proposal_chunk_size or proposals.shape[1], dim=1)
        parts = [self._cascade(sequences, chunk) for chunk in chunks]
        return DetectorOutput(
            startness_logits=startness,
            endness_logits=endness,
            stages=tuple(concatenate(stage) for stage in zip(*parts, strict=True)),
        )

    def _cascade(
        self,
        sequences: list[Float[Tensor, "batch roi_channels snippets"]],
        proposals: Float[Tensor, "batch proposals 2"],
    ) -> list[StageOutput]:
        """Run the stages, each on the proposals that the one before it refined."""
        outputs = []
        for stage, sequence in zip(self.stages, sequences, strict=True):
            outputs.append(stage(sequence, proposals))
            proposals = outputs[-1].refined
        return outputs

    def _check_features(self, features: Tensor) -> None:
        if features.ndim != 3 or features.shape[2] != self.in_channels or features.shape[1] == 0:
            raise ValueError(
                f"Detector(features=...): expected shape (batch, snippets, {self.in_channels}), "
                f"got {tuple(features.shape)}. Put the channels last; build the detector with the "
                "in_channels of the encoder."
            )


def _check_proposals(proposals: Tensor, *, batch_size: int) -> None:
    if proposals.ndim != 3 or proposals.shape[::2] != (batch_size, 2) or proposals.shape[1] == 0:
        raise ValueError(
            f"Detector(proposals=...): expected shape ({batch_size}, proposals, 2) with at least "
            f"one proposal, got {tuple(proposals.shape)}."
        )
    # Proposals in seconds or snippets would give plausible nonsense. Costs one device sync.
    start, end = proposals.unbind(-1)
    # Negated comparison: in a dry run every value is 0, and it passes.
    if bool((~((start >= 0) & (start < end) & (end <= 1))).any()):
        raise ValueError(
            "Detector(proposals=...): expected 0 <= start < end <= 1, got starts from "
            f"{start.min():g} and ends to {end.max():g}, or one that is reversed. Divide by the "
            "duration of the video."
        )


def _initialise(module: nn.Module) -> None:
    """Draw Xavier-uniform weights and clear the bias of a convolution or linear layer."""
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
