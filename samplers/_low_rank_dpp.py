"""Exact sampling from a DPP of fixed size whose kernel has low rank."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from samplers._elementary_symmetric import draw_subset, log_polynomials, membership
from samplers._projection_dpp import sample_projection


class Spectrum(NamedTuple):
    """The non-zero part of a symmetric positive semi-definite kernel."""

    log_weights: Float64[Tensor, " rank"]  # logarithms of the eigenvalues, on the CPU
    vectors: Float64[Tensor, "items rank"]  # orthonormal eigenvectors, on any device


def sample_k_dpp(
    spectrum: Spectrum, count: int, *, jitter: float, generator: torch.Generator
) -> Int64[Tensor, " count"]:
    """Draw `count` items S with probability proportional to det(A_S + jitter · I).

    NOTE [ Mixture ]. Expanding the determinant in the jitter, det(A_S + jitter · I) is the sum over
    subsets T of S of jitter^(|S| - |T|) · det(A_T). So first draw T from a k-DPP of A alone, then
    complete it to S by a uniformly random subset of the other items. The size j of T has
    probability proportional to e_j(A) · jitter^(count - j) · C(N - j, count - j). The N - rank
    eigenvalues that come from the jitter alone, and their vectors, are never computed.

    Args:
        spectrum: The spectrum of A.
        count: Number of items; at most the rank if the jitter is 0.
        jitter: Added to the diagonal, at least 0.
        generator: Source of randomness.
    """
    log_weights, vectors = spectrum
    table = log_polynomials(log_weights, min(count, len(log_weights)))
    size = _draw(_size_probability(table[-1], len(vectors), count, jitter=jitter), generator)
    columns = draw_subset(log_weights, table, size=size, generator=generator)
    diverse = sample_projection(vectors[:, columns], generator)
    order = torch.randperm(len(vectors), generator=generator, device=generator.device).cpu()
    return torch.cat([diverse, order[~torch.isin(order, diverse)][: count - size]])


def k_dpp_probability(
    spectrum: Spectrum, count: int, *, jitter: float
) -> Float64[Tensor, " items"]:
    """Return the probability that `sample_k_dpp` draws each item."""
    log_weights, vectors = spectrum
    num_items = len(vectors)
    if count == num_items:
        return torch.ones(num_items, dtype=torch.float64)
    table = log_polynomials(log_weights, min(count, len(log_weights)))
    size_probability = _size_probability(table[-1], num_items, count, jitter=jitter)
    others = num_items - torch.arange(len(size_probability))
    # P(in T) + P(not in T) · (count - j) / (N - j), summed over the size j of T.
    completed = (size_probability * (count - num_items + others) / others).sum()
    diverse = membership(
        log_weights, table, size_weights=size_probability * (num_items - count) / others
    )
    weighted = vectors.square() @ diverse.to(vectors.device)
    return (completed + weighted).clamp(0, 1)


def _size_probability(
    log_e: Float64[Tensor, " degrees"], num_items: int, count: int, *, jitter: float
) -> Float64[Tensor, " degrees"]:
    """Return the probability of each size of T (NOTE [ Mixture ] above)."""
    size = torch.arange(len(log_e), dtype=torch.float64)
    if jitter == 0:
        return (size == count).double()
    # log C(N - j, count - j), up to a constant.
    completions = torch.lgamma(num_items - size + 1) - torch.lgamma(count - size + 1)
    return (log_e + (count - size) * math.log(jitter) + completions).softmax(dim=0)


def _draw(probability: Float64[Tensor, " values"], generator: torch.Generator) -> int:
    uniform = torch.rand(1, generator=generator, dtype=torch.float64, device=generator.device)
    below = probability.cumsum(dim=0) <= uniform.cpu()
    # Rounding may leave the last sum below 1.
    return min(int(below.sum()), len(probability) - 1)
