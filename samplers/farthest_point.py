"""Farthest point sampling (paper section 3.5, feature-guided; supplement G)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from samplers._features import finite_features
from samplers.base import AbstractSampler
from samplers.candidates import Candidates


@dataclass(frozen=True)
class FarthestPoint(AbstractSampler):
    """Choose greedily the item whose features are farthest from those chosen so far.

    Distances are Euclidean; of equally far items the first wins, and items that coincide with a
    chosen one come last. One pass over all features per chosen item.

    Args:
        start: Position of the first item; drawn uniformly if None.

    Raises:
        ValueError: If `start` is negative.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    start: int | None = None

    def __post_init__(self) -> None:
        if self.start is not None and self.start < 0:
            raise ValueError(
                f"FarthestPoint(start={self.start!r}): expected a position >= 0, got "
                f"{self.start!r}. Pass None to draw it."
            )

    @property
    def has_inclusion_probability(self) -> bool:
        """Never: only the first item is random."""
        return False

    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        features = finite_features(self, candidates)
        return _farthest_points(features, self._first(candidates, generator), count=count)

    def _first(self, candidates: Candidates, generator: torch.Generator) -> Int64[Tensor, " first"]:
        if self.start is None:
            return torch.randint(
                candidates.num_items, (1,), generator=generator, device=generator.device
            ).to(candidates.device)
        if self.start >= candidates.num_items:
            raise ValueError(
                f"{self!r}.sample(): expected a start in [0, {candidates.num_items - 1}], the "
                f"positions of the candidates, got {self.start!r}. Pass None to draw it."
            )
        return torch.tensor([self.start], device=candidates.device)

    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        raise ValueError(
            f"{self!r}.inclusion_probability(): every item after the first is determined by the "
            "features, so most items are never chosen and no weights make it unbiased. Use DPP() "
            "for diverse samples with probabilities, or do not weigh the samples."
        )


def _farthest_points(
    features: Float64[Tensor, "items channels"],
    first: Int64[Tensor, " first"],
    *,
    count: int,
) -> Int64[Tensor, " count"]:
    distance = features.new_full((len(features),), torch.inf)
    chosen = [first]
    for _ in range(count - 1):
        # Differences are squared, not expanded to |x|² + |y|² - 2xy: slower by half, but equal
        # points are at distance 0 exactly, and no common offset or large norm cancels digits.
        to_last = torch.cdist(
            features[chosen[-1]], features, compute_mode="donot_use_mm_for_euclid_dist"
        )
        torch.minimum(distance, to_last[0], out=distance)
        # Below every distance: a chosen item never returns, even when all others coincide with it.
        distance[chosen[-1]] = -1
        chosen.append(distance.argmax(dim=0, keepdim=True))
    return torch.cat(chosen)
