"""Eigenvalues and eigenvectors of the kernels of determinantal point processes."""

import torch
from jaxtyping import Float64
from torch import Tensor

from samplers._low_rank_dpp import Spectrum


def cosine_spectrum(features: Float64[Tensor, "items channels"]) -> Spectrum:
    """Return the spectrum of the cosine similarities of the features.

    It has at most as many non-zero eigenvalues as channels. They are computed from the Gram matrix
    of the channels, unless the kernel itself is smaller, so the cost grows with N · channels².
    Eigenvalues that are 0 up to rounding are dropped.
    """
    num_items, channels = features.shape
    # The first division prevents overflow and underflow of the squares in the second.
    smallest = torch.finfo(features.dtype).tiny
    features = features / features.abs().amax(dim=1, keepdim=True).clamp(min=smallest)
    features /= features.norm(dim=1, keepdim=True).clamp(min=smallest)
    if channels >= num_items:
        return spectrum_of(*torch.linalg.eigh(features @ features.T))
    log_weights, vectors = spectrum_of(*torch.linalg.eigh(features.T @ features))
    return Spectrum(log_weights, _orthonormal(features @ vectors))


def spectrum_of(
    weights: Float64[Tensor, " items"], vectors: Float64[Tensor, "items items"]
) -> Spectrum:
    """Return ascending eigenvalues and their vectors, without those that are 0 up to rounding."""
    noise = 10 * len(weights) * torch.finfo(weights.dtype).eps * weights[-1]
    return Spectrum(weights[weights > noise].log().cpu(), vectors[:, weights > noise])


def _orthonormal(vectors: Float64[Tensor, "items rank"]) -> Float64[Tensor, "items rank"]:
    """Return the vectors normalised, and orthogonal to full precision.

    The Gram matrix squares the condition number, so the vectors of the smallest eigenvalues are
    orthogonal to a few digits only. One Cholesky step restores full precision. It corrects every
    vector by those before it, hence the vectors of the largest eigenvalues come first.
    """
    falling = vectors.flip(1)
    factor = torch.linalg.cholesky(falling.T @ falling, upper=True)
    # Close to diagonal, so a product with its inverse is accurate, and takes a quarter of the time.
    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    inverse: Tensor = torch.linalg.solve_triangular(factor, identity, upper=True)
    return falling @ inverse.flip(1)
