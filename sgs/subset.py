"""The sampled items, which get a gradient, and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from samplers import AbstractSampler, Candidates, count_from_ratio


@dataclass(frozen=True)
class Subset:
    """The sampled items of every video.

    Args:
        index: Ascending positions in each video, on the CPU, so grouping never waits for a GPU.
        weight: The factor of each item's feature gradient, 0 for unsampled items. None if all are
            1.
        num_items: Items per video.
    """

    index: Int64[Tensor, "videos count"]
    weight: Float64[Tensor, " all_items"] | None
    num_items: int

    @property
    def positions(self) -> Int64[Tensor, " sampled"]:
        """Ascending positions among the items of all videos."""
        first = torch.arange(len(self.index), device="cpu")[:, None] * self.num_items
        return (self.index + first).flatten()

    def in_shape(self, lead_shape: torch.Size) -> Int64[Tensor, "*videos count"]:
        """Return `index` with the dimensions of the call before the items."""
        return self.index.view(*lead_shape[:-1], self.index.shape[1])

    @staticmethod
    def of(index: Int64[Tensor, "videos count"], num_items: int) -> Subset:
        """Return the subset of the given items, each with weight 1.

        Raises:
            ValueError: If a position is out of range or repeated, or there are none.
        """
        ordered = index.cpu().sort(dim=1).values
        distinct = bool((ordered.diff(dim=1) > 0).all())
        inside = bool(((ordered >= 0) & (ordered < num_items)).all())
        if not distinct or not inside or (ordered.shape[1] == 0 and num_items > 0):
            raise ValueError(
                f"index={index.tolist()}: expected distinct positions in [0, {num_items}), at "
                "least one per video."
            )
        return Subset(ordered, _weight(ordered, torch.ones_like(ordered), num_items), num_items)


def _weight(index: Tensor, value: Tensor, num_items: int) -> Tensor | None:
    if index.shape[1] == num_items and bool((value == 1).all()):
        return None
    weight = torch.zeros(len(index), num_items, dtype=torch.float64, device="cpu")
    return weight.scatter_(1, index, value.double()).flatten()


@dataclass(frozen=True)
class SubsetDraw:
    """The rule by which each step draws its subset (paper section 3.3, the third stage).

    Args:
        sampler: The strategy.
        ratio: Fraction of the items of each video, in (0, 1].
        weights: "inverse_probability" or "none".
        generator: Source of randomness; the default one if None.
    """

    sampler: AbstractSampler
    ratio: float
    weights: str
    generator: torch.Generator | None

    @property
    def is_guided(self) -> bool:
        """Whether the subset can only be drawn after the first pass."""
        return self.ratio < 1 and bool(self.sampler.requires)

    @property
    def needs_gradients(self) -> bool:
        """Whether the subset can only be drawn in the backward, from the feature gradients."""
        return self.ratio < 1 and "gradient_norm" in self.sampler.requires

    def __call__(
        self,
        num_videos: int,
        num_items: int,
        *,
        features: Float[Tensor, "videos items channels"] | None = None,
        gradient_norms: Float[Tensor, "videos items"] | None = None,
    ) -> Subset:
        """Draw a subset of each video separately.

        Raises:
            ValueError: If the strategy repeats a position.
        """
        count = count_from_ratio(self.ratio, num_items) if num_items > 0 else 0
        if count == num_items or num_videos == 0:
            return Subset.of(torch.arange(num_items, device="cpu").repeat(num_videos, 1), num_items)
        indices, values = [], []
        for video in range(num_videos):
            candidates = Candidates(
                num_items=num_items,
                features=None if features is None else features[video].detach(),
                gradient_norm=None if gradient_norms is None else gradient_norms[video],
            )
            drawn = self.sampler.sample(candidates, count, generator=self.generator)
            index = drawn.sort().values
            indices.append(index.cpu())
            values.append(self._weights_of(candidates, index).cpu())
        index = torch.stack(indices)
        if not bool((index.diff(dim=1) > 0).all()):
            raise ValueError(
                f"{self.sampler!r} drew {index.tolist()}: expected distinct positions, since "
                "each item is encoded once."
            )
        return Subset(index, _weight(index, torch.stack(values), num_items), num_items)

    def _weights_of(self, candidates: Candidates, index: Tensor) -> Tensor:
        if self.weights == "none":
            return torch.ones(len(index), dtype=torch.float64, device="cpu")
        probability = self.sampler.inclusion_probability(candidates, len(index))
        return 1 / probability[index]


def gradient_norms(
    gradients: Sequence[Tensor | None], lead_shape: torch.Size
) -> Float[Tensor, "videos items"]:
    """Return the norm of each item's gradient, over all leaves of the features.

    With loss scaling gradients may overflow, and GradScaler must see the infinity to skip the step.
    Items with a non-finite gradient therefore get norm 1 and all others 0, so that they are
    sampled.

    Args:
        gradients: One per leaf, `[*lead_shape, ...]`; None where the loss does not depend on it.
        lead_shape: The items' dimensions, `[N]` or `[B, N]`.
    """
    squares = torch.zeros(lead_shape.numel(), dtype=torch.float64, device="cpu")
    for gradient in gradients:
        if gradient is not None:
            # Squares overflow in half precision.
            wide = gradient.to(torch.promote_types(gradient.dtype, torch.float64))
            rows = wide.reshape(lead_shape.numel(), -1)
            squares += torch.linalg.vector_norm(rows, dim=1).square().cpu()
    if not squares.isfinite().all():
        squares = (~squares.isfinite()).double()
    return squares.sqrt().view(lead_shape[:-1].numel(), lead_shape[-1])
