"""Determinantal point processes by enumeration of all subsets: slow and obviously right."""

import math
from itertools import combinations

import torch
from torch import Tensor


def cosine_kernel(features: Tensor, jitter: float) -> Tensor:
    """Return the N × N kernel in float64; an item without features is similar to none."""
    features = features.double()
    norm = features.norm(dim=1, keepdim=True)
    unit = torch.where(norm > 0, features / norm, 0.0)
    return unit @ unit.T + jitter * torch.eye(len(unit), dtype=torch.float64)


def subset_probability(kernel: Tensor, count: int) -> tuple[list[tuple[int, ...]], Tensor]:
    """Return every subset of `count` items and its probability det(L_S) / sum of det(L_S)."""
    subsets = list(combinations(range(len(kernel)), count))
    determinants = torch.stack([kernel[list(s)][:, list(s)].det() for s in subsets])
    return subsets, determinants / determinants.sum()


def inclusion_probability(kernel: Tensor, count: int) -> Tensor:
    """Return the probability of each item to be in a subset of `count`."""
    total = torch.zeros(len(kernel), dtype=torch.float64)
    for subset, probability in zip(*subset_probability(kernel, count), strict=True):
        total[list(subset)] += probability
    return total


def elementary_symmetric(weights: list[float], degree: int) -> float:
    """Return the sum over all subsets of `degree` weights of their product."""
    return sum(math.prod(subset) for subset in combinations(weights, degree))
