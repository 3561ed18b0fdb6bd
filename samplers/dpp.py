"""Determinantal point processes of fixed size (paper section 3.5, feature-guided; supplement G)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from samplers._finite import finite_rows
from samplers._low_rank_dpp import Spectrum, k_dpp_probability, sample_k_dpp
from samplers._spectrum import cosine_spectrum, spectrum_of
from samplers.base import AbstractSampler
from samplers.candidates import Candidates

# Error of eigenvalues in float64, relative to the number of items times the largest entry.
# Measured: 14 units of rounding for 1,000 equal items.
_EIGENVALUE_ROUNDING = 100 * torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class DPP(AbstractSampler):
    """Choose a diverse subset: probability proportional to the determinant of its kernel.

    The kernel is the cosine similarity of the features plus `jitter` on the diagonal. Because of
    the jitter a k-DPP of any `count` exists, even if features are equal, zero or have few channels.
    The sample and the inclusion probabilities are exact. The kernel is never formed, so the time
    grows with num_items · channels².

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
        return sample_k_dpp(
            self._spectrum(candidates), count, jitter=self.jitter, generator=generator
        )

    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        return k_dpp_probability(self._spectrum(candidates), count, jitter=self.jitter)

    def _spectrum(self, candidates: Candidates) -> Spectrum:
        assert candidates.features is not None  # `requires` has been checked
        return cosine_spectrum(finite_rows(self, "features", candidates.features))


@dataclass(frozen=True)
class KernelDPP(AbstractSampler):
    """Choose a diverse subset, as `DPP` does, by a kernel of your own.

    The determinants of Candidates(kernel=...) weight the subsets. The kernel must be symmetric,
    positive semi-definite and of rank `count` or more. Negative eigenvalues within the rounding of
    its type count as 0. So do positive ones up to twice as large, or below 2e-15 · num_items of the
    largest. If rounding of the entries made small eigenvalues positive, they still count as rank:
    in float32 or less, do not exceed the rank that you know. The time grows with num_items³. If the
    kernel is a product of features, `DPP` is much faster.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"kernel"})

    @property
    def has_inclusion_probability(self) -> bool:
        """Always."""
        return True

    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        return sample_k_dpp(
            self._spectrum(candidates, count), count, jitter=0.0, generator=generator
        )

    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        return k_dpp_probability(self._spectrum(candidates, count), count, jitter=0.0)

    def _spectrum(self, candidates: Candidates, count: int) -> Spectrum:
        kernel, rounding = self._kernel(candidates)
        weights, vectors = torch.linalg.eigh(kernel)
        negative = -float(weights[0])
        if negative > rounding * candidates.num_items:
            raise ValueError(
                f"{self!r}: expected a positive semi-definite kernel, got the eigenvalue "
                f"{-negative:g}. Determinants would be negative. Add at least {negative:g} to the "
                "diagonal."
            )
        # Rounding produces eigenvalues of both signs and similar size.
        spectrum = spectrum_of(weights.where(weights > 2 * negative, 0.0), vectors)
        if len(spectrum.log_weights) < count:
            raise ValueError(
                f"{self!r}: expected a kernel of rank {count} or more for count={count}, got rank "
                f"{len(spectrum.log_weights)}: all determinants of that size are 0 up to "
                "rounding. Add a small value to the diagonal, e.g. 1e-2, or choose fewer items."
            )
        return spectrum

    def _kernel(self, candidates: Candidates) -> tuple[Float64[Tensor, "items items"], float]:
        """Return the kernel and the largest rounding error of its entries."""
        assert candidates.kernel is not None  # `requires` has been checked
        kernel = finite_rows(self, "kernel", candidates.kernel)
        eps = torch.finfo(candidates.kernel.dtype).eps
        rounding = (eps + _EIGENVALUE_ROUNDING) * float(kernel.abs().max())
        difference = float((kernel - kernel.T).max())
        if difference > 10 * rounding:
            raise ValueError(
                f"{self!r}: expected a symmetric kernel, got entries that differ by {difference:g} "
                "from their mirror image. Pass (kernel + kernel.T) / 2 if they should not."
            )
        return kernel, rounding
