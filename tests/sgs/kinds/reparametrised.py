"""Encoders whose weights are computed from other parameters before each use."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from tests.sgs.kinds.arguments import INPUT, SEQUENCES
from tests.sgs.kinds.kind import Kind


class Symmetric(nn.Module):
    """A square matrix made symmetric."""

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix.triu() + matrix.triu(1).mT


class LowRankUpdate(nn.Module):
    """A matrix plus a trained update of low rank, as in LoRA."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randn(rows, 2))
        self.right = nn.Parameter(torch.randn(2, columns))

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix + self.left @ self.right


class CachedInLoop(nn.Module):
    """A recurrence whose orthogonal matrix is computed once per call, in torch's cache."""

    def __init__(self) -> None:
        super().__init__()
        self.step = parametrizations.orthogonal(nn.Linear(4, 4))

    def forward(self, items: Tensor) -> Tensor:
        state = torch.zeros_like(items[:, 0])
        with parametrize.cached():
            for step in items.unbind(dim=1):
                state = self.step(state + step).tanh()
        return state


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 4))


def weight_norm() -> nn.Module:
    encoder = layers()
    parametrizations.weight_norm(encoder[0])
    return encoder


def spectral_norm() -> nn.Module:
    encoder = layers()
    parametrizations.spectral_norm(encoder[0])
    return encoder


def orthogonal() -> nn.Module:
    encoder = layers()
    parametrizations.orthogonal(encoder[0])
    return encoder


def weight_norm_by_hook() -> nn.Module:
    encoder = layers()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*weight_norm.* is deprecated", FutureWarning)
        nn.utils.weight_norm(encoder[0])
    return encoder


def spectral_norm_by_hook() -> nn.Module:
    encoder = layers()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*spectral_norm.* is deprecated", FutureWarning)
        nn.utils.spectral_norm(encoder[0])
    return encoder


def pruned() -> nn.Module:
    encoder = layers()
    prune.l1_unstructured(encoder[0], "weight", amount=0.4)
    prune.random_unstructured(encoder[2], "bias", amount=0.5)
    return encoder


def symmetric() -> nn.Module:
    encoder = layers()
    parametrize.register_parametrization(encoder[0], "weight", Symmetric())
    return encoder


def low_rank_update() -> nn.Module:
    encoder = layers().requires_grad_(False)
    parametrize.register_parametrization(encoder[0], "weight", LowRankUpdate(6, 6))
    return encoder


REPARAMETRISED = {
    "weight_norm": Kind(weight_norm, INPUT),
    "spectral_norm": Kind(spectral_norm, INPUT),
    "orthogonal": Kind(orthogonal, INPUT),
    "orthogonal_cached_in_loop": Kind(CachedInLoop, SEQUENCES),
    "weight_norm_by_hook": Kind(weight_norm_by_hook, INPUT),
    "spectral_norm_by_hook": Kind(spectral_norm_by_hook, INPUT),
    "pruned": Kind(pruned, INPUT),
    "symmetric": Kind(symmetric, INPUT),
    "low_rank_update": Kind(low_rank_update, INPUT),
}
