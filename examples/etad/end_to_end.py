"""From frames to detections: encoder, proposal sampling and detector (paper Fig. 2)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from aps import ProposalSampler
from examples.etad.detectors.etad.detector import Detector
from examples.etad.detectors.etad.output import DetectorOutput
from examples.etad.encoders.build import build_encoder
from examples.etad.encoders.frozen_stages import split_encoder
from examples.etad.encoders.pretrained import load_pretrained
from examples.etad.settings.config import Config, EncoderConfig
from examples.etad.settings.sampler_names import build_strategy
from sgs import FrozenStem, MemoryBudget, SequentialGradientSampler, SourceBatch


class ETAD(nn.Module):
    """The whole model: one call and one backward, as if all snippets fitted in memory.

    Args:
        config: The settings of the run; weights come from torch's default generator.
        pretrained: Whether to load the encoder's weights that the settings name, if they name any.
            False if a checkpoint is loaded next.
    """

    def __init__(self, config: Config, *, pretrained: bool = True) -> None:
        super().__init__()
        encoder = build_encoder(
            config.encoder.name,
            channels=config.encoder.channels,
            frames_per_snippet=config.data.frames_per_snippet,
            frame_size=config.data.frame_size,
        )
        if pretrained and config.encoder.checkpoint:
            load_pretrained(encoder, Path(config.encoder.checkpoint))
        self.encode = _sample_gradients(encoder, config.encoder)
        self.propose = ProposalSampler(
            build_strategy(config.proposals.sampler),
            config.proposals.ratio,
            num_snippets=config.data.num_snippets,
            max_duration=config.proposals.max_duration or None,
            evaluation_ratio=config.proposals.evaluation_ratio,
        )
        self.detector = Detector(config.detector, in_channels=encoder.feature_channels)
        self.proposal_chunk_size = config.proposals.chunk_size

    def forward(
        self,
        frames: Shaped[Tensor, "batch snippets channels frames height width"] | SourceBatch,
        gt_segments: Sequence[Float[Tensor, "_ 2"]] | None = None,
    ) -> DetectorOutput:
        """Encode all snippets, sample proposals and evaluate them.

        Args:
            frames: RGB, uint8; or a source of such snippets for each video.
            gt_segments: The ground truth of each video, normalised; used only in training, and only
                by strategies that are guided by labels.
        """
        features = self.encode(frames)
        index = self.propose(len(features), gt_segments=gt_segments, features=features)
        chunk_size = None if self.training else self.proposal_chunk_size
        output: DetectorOutput = self.detector(
            features, self.propose.proposals[index], proposal_chunk_size=chunk_size
        )
        return output


def _sample_gradients(encoder: nn.Module, config: EncoderConfig) -> SequentialGradientSampler:
    """Freeze what the settings freeze, and wrap the rest."""
    stem, trunk = split_encoder(encoder, config.frozen_stages)
    if config.frozen:
        encoder.requires_grad_(False)
    return SequentialGradientSampler(
        trunk,
        **_sizes(config),
        ratio=config.ratio,
        sampler=build_strategy(config.sampler),
        weights=config.weights,
        item_dim=1,
        frozen_stem=stem and FrozenStem(stem, "cpu" if config.stem_on_host else None),
    )


def _sizes(config: EncoderConfig) -> dict[str, Any]:
    if config.memory_budget:
        return {"micro_batch_size": MemoryBudget(config.memory_budget)}
    return {
        "micro_batch_size": config.micro_batch_size,
        "forward_micro_batch_size": config.forward_micro_batch_size or None,
        "kept_graphs": config.kept_graphs,
    }
