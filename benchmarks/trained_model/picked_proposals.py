"""Measures of the proposals that a strategy picks from one video."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from aps import ProposalSampler, dense_proposals, pairwise_tiou
from benchmarks.trained_model.encoded_videos import EncodedVideo
from examples.etad.settings.sampler_names import STRATEGIES
from samplers import AbstractSampler, count_from_ratio

KNOWN = frozenset({"features", "tiou", "scale"})
HIGH_TIOU = 0.7
SHORT, LONG = 0.3, 0.7


@dataclass(frozen=True, eq=False)
class Proposals:
    """The dense map of one video.

    Attributes:
        features: Outputs of the encoder, of the snippets.
        gt_segments: The actions, normalised.
        max_duration: Longest proposal, in snippets.
    """

    ratio: ClassVar[float] = 0.06
    strategies: ClassVar[tuple[AbstractSampler, ...]] = tuple(
        strategy for strategy in STRATEGIES.values() if strategy.requires <= KNOWN
    )

    features: Float[Tensor, "snippets channels"]
    gt_segments: Float[Tensor, "actions 2"]
    max_duration: int

    @classmethod
    def of(cls, video: EncodedVideo, *, max_duration: int) -> Proposals:
        features = video.encoded.features.detach()[0]
        return cls(features, video.batch["gt_segments"][0], max_duration)

    @property
    def num_items(self) -> int:
        return len(self.segments)

    @property
    def count(self) -> int:
        return count_from_ratio(self.ratio, self.num_items)

    def pick(
        self, strategy: AbstractSampler, *, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        """Choose as training does."""
        propose = ProposalSampler(
            strategy,
            self.ratio,
            num_snippets=len(self.features),
            max_duration=self.max_duration,
            generator=generator,
        )
        index: Tensor = propose(1, gt_segments=[self.gt_segments], features=self.features[None])
        return index[0]

    def measures(self, index: Int64[Tensor, " count"]) -> dict[str, float]:
        """Describe some proposals.

        Returns:
            The shares of proposals with a high tIoU with an action, and of short, medium and long
            ones, in the bins of the balanced strategies.
        """
        scale = (self.segments[:, 1] - self.segments[:, 0])[index]
        short, long = (scale < SHORT).double().mean(), (scale >= LONG).double().mean()
        return {
            "high_tiou": float((self.tiou[index] >= HIGH_TIOU).double().mean()),
            "short": float(short),
            "medium": float(1 - short - long),
            "long": float(long),
        }

    @cached_property
    def segments(self) -> Float[Tensor, "proposals 2"]:
        return dense_proposals(len(self.features), self.max_duration)

    @cached_property
    def tiou(self) -> Float[Tensor, " proposals"]:
        """The highest with any action; 0 if there is none."""
        if not len(self.gt_segments):
            return torch.zeros(self.num_items)
        return pairwise_tiou(self.segments, self.gt_segments).amax(dim=1)
