"""Determinantal point process of fixed size (paper section 3.5, feature-guided; supplement G)."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from samplers._elementary_symmetric import draw_subset, log_polynomials, membership
from samplers._features import finite_features
from samplers._projection_dpp import sample_projection
from samplers.base import AbstractSampler
from samplers.candidates import Candidates


@dataclass(frozen=True)
class DPP(AbstractSampler):
    """Choose a diverse subset: probability proportional to the determinant of its kernel.

    The kernel is the cosine similarity of the features plus `jitter` on the diagonal, so a k-DPP
    of any `count` exists, also with equal, zero or few-channel features. The sample and the
    inclusion probabilities are exact.

    NOTE [ Mixture ]. Expanding the determinant in the jitter, det(A_S + jitter·I) is the sum over
    subsets T of S of jitter^(|S| - |T|) · det(A_T). So S is a k-DPP T of the similarity A alone,
    whose size j has probability proportional to e_j(A) · jitter^(count - j) · C(N - j, count - j),
    completed by a uniformly random subset of the other items. A has at most as many non-zero
    eigenvalues as channels, and they follow from the Gram matrix of the channels: the N × N kernel
    is never formed, and the cost grows with N · channels².

    Args:
        jitter: Added to the diagonal of the kernel, > 0. The larger, the closer to `Random`.
            Far below 1e-12 · num_items it is lost in the rounding of the similarities.

    Raises:
        ValueError: If `jitter` is not a finite number > 0.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    jitter: float = 1e-2

    def __post_init__(self) -> None:
        if not 0 < self.jitter < math.inf:
            raise ValueError(
                f"DPP(jitter={self.jitter!r}): expected a finite value > 0, got {self.jitter!r}. "
                "Without it the kernel has no more rank than the features have channels, and "
                "larger samples do not exist. Use a small value, e.g. 1e-2."
            )

    @property
    def has_inclusion_probability(self) -> bool:
        """Always."""
        return True

    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        spectrum = _spectrum(finite_features(self, candidates))
        table = log_polynomials(spectrum.log_weights, min(count, len(spectrum.log_weights)))
        size = _draw(self._size_probability(table[-1], candidates, count), generator)
        columns = draw_subset(spectrum.log_weights, table, size=size, generator=generator)
        diverse = sample_projection(spectrum.vectors[:, columns], generator)
        order = torch.randperm(
            candidates.num_items, generator=generator, device=generator.device
        ).cpu()
        return torch.cat([diverse, order[~torch.isin(order, diverse)][: count - size]])

    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        num_items = candidates.num_items
        spectrum = _spectrum(finite_features(self, candidates))
        if count == num_items:
            return torch.ones(num_items, dtype=torch.float64)
        table = log_polynomials(spectrum.log_weights, min(count, len(spectrum.log_weights)))
        size_probability = self._size_probability(table[-1], candidates, count)
        others = num_items - torch.arange(len(size_probability))
        # P(in T) + P(not in T) · (count - j) / (N - j), summed over the size j of T.
        completed = (size_probability * (count - num_items + others) / others).sum()
        diverse = membership(
            spectrum.log_weights,
            table,
            size_weights=size_probability * (num_items - count) / others,
        )
        weighted = spectrum.vectors.square() @ diverse.to(spectrum.vectors.device)
        return (completed + weighted.cpu()).clamp(0, 1)

    def _size_probability(
        self, log_e: Float64[Tensor, " degrees"], candidates: Candidates, count: int
    ) -> Float64[Tensor, " degrees"]:
        """Return the probability of each size of T (NOTE [ Mixture ] above)."""
        size = torch.arange(len(log_e), dtype=torch.float64)
        completions = (
            torch.lgamma(candidates.num_items - size + 1)
            - torch.lgamma(count - size + 1)
            - math.lgamma(candidates.num_items - count + 1)
        )
        return (log_e + (count - size) * math.log(self.jitter) + completions).softmax(dim=0)


class _Spectrum(NamedTuple):
    """The non-zero part of the cosine kernel."""

    log_weights: Float64[Tensor, " rank"]  # logarithms of the eigenvalues, on the CPU
    vectors: Float64[Tensor, "items rank"]  # orthonormal eigenvectors, on the features' device


def _spectrum(features: Float64[Tensor, "items channels"]) -> _Spectrum:
    """Return the eigenvalues and eigenvectors of the cosine kernel of the features.

    Eigenvalues that are 0 but for rounding are dropped.
    """
    num_items, channels = features.shape
    # The first division keeps the squares of the second from overflow and underflow.
    smallest = torch.finfo(features.dtype).tiny
    features = features / features.abs().amax(dim=1, keepdim=True).clamp(min=smallest)
    features = features / features.norm(dim=1, keepdim=True).clamp(min=smallest)
    wide = channels >= num_items
    weights, vectors = torch.linalg.eigh(features @ features.T if wide else features.T @ features)
    noise = 10 * len(weights) * torch.finfo(weights.dtype).eps * weights[-1]
    vectors, weights = vectors[:, weights > noise], weights[weights > noise]
    if not wide:
        vectors = _orthonormal(features @ vectors / weights.sqrt())
    return _Spectrum(weights.log().cpu(), vectors)


def _orthonormal(vectors: Float64[Tensor, "items rank"]) -> Float64[Tensor, "items rank"]:
    # The Gram matrix squares the condition number, so that the vectors of the smallest
    # eigenvalues are orthonormal to a few digits only. One Cholesky step restores the others.
    factor = torch.linalg.cholesky(vectors.T @ vectors, upper=True)
    restored: Tensor = torch.linalg.solve_triangular(factor, vectors, upper=True, left=False)
    return restored


def _draw(probability: Float64[Tensor, " values"], generator: torch.Generator) -> int:
    uniform = torch.rand(1, generator=generator, dtype=torch.float64, device=generator.device)
    below = probability.cumsum(dim=0) <= uniform.cpu()
    # Rounding may leave the last sum below 1.
    return min(int(below.sum()), len(probability) - 1)
