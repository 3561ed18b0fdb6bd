"""Measures of the snippets that a strategy picks from one video."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from benchmarks.trained_model.encoded_videos import EncodedVideo
from examples.etad.settings.sampler_names import STRATEGIES
from samplers import AbstractSampler, Candidates, count_from_ratio

KNOWN = frozenset({"features", "gradient_norm"})


@dataclass(frozen=True, eq=False)
class Snippets:
    """The snippets of one video.

    Attributes:
        features: Outputs of the encoder.
        gradient_norm: Norms of the gradients of the loss with respect to the features.
        gt_segments: The actions, normalised.
    """

    ratio: ClassVar[float] = 0.3
    strategies: ClassVar[tuple[AbstractSampler, ...]] = tuple(
        strategy for strategy in STRATEGIES.values() if strategy.requires <= KNOWN
    )

    features: Float[Tensor, "snippets channels"]
    gradient_norm: Float[Tensor, " snippets"]
    gt_segments: Float[Tensor, "actions 2"]

    @classmethod
    def of(cls, video: EncodedVideo) -> Snippets:
        features = video.encoded.features
        return cls(
            features.detach()[0].flatten(1),
            features.grad[0].flatten(1).double().norm(dim=1),
            video.batch["gt_segments"][0],
        )

    @property
    def num_items(self) -> int:
        return len(self.features)

    @property
    def count(self) -> int:
        return count_from_ratio(self.ratio, self.num_items)

    def pick(
        self, strategy: AbstractSampler, *, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        """Choose as gradient sampling does."""
        candidates = Candidates(
            num_items=self.num_items, features=self.features, gradient_norm=self.gradient_norm
        )
        return strategy.sample(candidates, self.count, generator=generator)

    def measures(self, index: Int64[Tensor, " count"]) -> dict[str, float]:
        """Describe some snippets.

        Returns:
            "foreground" and "hard_negatives" are shares of them; "from_mean" is their mean distance
            from the mean of all features, "to_nearest" the mean and "to_farthest" the largest
            distance of any snippet from the nearest of them.
        """
        to_nearest = self.distance[:, index].amin(dim=1)
        return {
            "foreground": float(self.is_foreground[index].double().mean()),
            "hard_negatives": float(self.is_hard_negative[index].double().mean()),
            "from_mean": float(self._from_mean[index].mean()),
            "to_nearest": float(to_nearest.mean()),
            "to_farthest": float(to_nearest.max()),
        }

    @cached_property
    def is_foreground(self) -> Bool[Tensor, " snippets"]:
        """Whether the centre of a snippet lies in an action."""
        centre = (torch.arange(self.num_items) + 0.5) / self.num_items
        start, end = self.gt_segments.T[..., None]
        within: Tensor = (start <= centre) & (centre < end)
        return within.any(dim=0)

    @cached_property
    def is_hard_negative(self) -> Bool[Tensor, " snippets"]:
        """Whether a snippet is background while the snippet nearest to it is foreground."""
        nearest = self.distance.clone().fill_diagonal_(torch.inf).argmin(dim=1)
        return ~self.is_foreground & self.is_foreground[nearest]

    @cached_property
    def distance(self) -> Float64[Tensor, "snippets snippets"]:
        features = self.features.double()
        # Not by matrix products, which are inexact for snippets close to one another.
        return torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")

    @cached_property
    def _from_mean(self) -> Float64[Tensor, " snippets"]:
        features = self.features.double()
        distance: Tensor = (features - features.mean(dim=0)).norm(dim=1)
        return distance
