"""Farthest point sampling (paper section 3.5, feature-guided; supplement G)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from samplers import _torch_cluster as torch_cluster_backend
from samplers._finite import finite_rows
from samplers._maximin import farthest_points
from samplers.base import AbstractSampler
from samplers.candidates import Candidates


@dataclass(frozen=True)
class FarthestPoint(AbstractSampler):
    """Choose greedily the item whose features are farthest from those chosen so far.

    Distances are Euclidean. Of items that are equally far, up to rounding, the first wins. Items
    that coincide with a chosen one come last, in order. The time grows with num_items · channels ·
    count.

    Args:
        start: Position of the first item; drawn uniformly if None.
        backend: "torch", or "torch_cluster" for the function of that package (`pip install
            "etad[fps]"`). Both choose the same items, except among equally far ones.

    Raises:
        ImportError: If the package of the backend is not installed.
        ValueError: If `start` is not an integer >= 0, or the backend is unknown.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    start: int | None = None
    backend: str = "torch"

    def __post_init__(self) -> None:
        if self.start is not None and (not isinstance(self.start, int) or self.start < 0):
            raise ValueError(
                f"FarthestPoint(start={self.start!r}): expected an integer >= 0, got "
                f"{self.start!r}. Pass None to draw it."
            )
        if self.backend not in _BACKENDS:
            raise ValueError(
                f"FarthestPoint(backend={self.backend!r}): expected one of {sorted(_BACKENDS)}, "
                f"got {self.backend!r}. Use the default, which needs nothing else."
            )
        if self.backend == "torch_cluster":
            torch_cluster_backend.torch_cluster()

    @property
    def has_inclusion_probability(self) -> bool:
        """Never: only the first item is random."""
        return False

    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        choose = _BACKENDS[self.backend]
        assert candidates.features is not None  # `requires` has been checked
        features = finite_rows(self, "features", candidates.features)
        return torch.tensor(choose(features, self._first(candidates, generator), count=count))

    def _first(self, candidates: Candidates, generator: torch.Generator) -> int:
        if self.start is None:
            return int(
                torch.randint(
                    candidates.num_items, (1,), generator=generator, device=generator.device
                )
            )
        if self.start >= candidates.num_items:
            raise ValueError(
                f"{self!r}.sample(): expected a start in [0, {candidates.num_items - 1}], the "
                f"positions of the candidates, got {self.start!r}. Pass None to draw it."
            )
        return self.start

    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        raise ValueError(
            f"{self!r}.inclusion_probability(): every item after the first is determined by the "
            "features, so most items are never chosen and no weights make it unbiased. Use DPP() "
            "for diverse samples with probabilities, or use no weights."
        )


_BACKENDS = {"torch": farthest_points, "torch_cluster": torch_cluster_backend.farthest_points}
