"""The one table of strategies, and candidates to choose from.

A strategy is not done before its line is here.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from samplers import (
    DPP,
    AbstractSampler,
    Block,
    Candidates,
    FarthestPoint,
    GradientNorm,
    Grid,
    IoUBalanced,
    KernelDPP,
    Random,
    ScaleBalanced,
)


@dataclass(frozen=True)
class Case:
    """A strategy, where it chooses, and what the laws cannot know from the outside."""

    sampler: AbstractSampler
    on_map: bool = False
    is_deterministic: bool = False
    has_probability: bool = True
    # Counted draws: enough to see a bias of 10 % at a probability of a half.
    draws: int = 6000

    def __str__(self) -> str:
        return f"{self.sampler}-{'map' if self.on_map else 'time'}"

    def candidates(self, *, size: int, seed: int = 0) -> Candidates:
        """Build candidates: `size` items along time, or the proposals of `size` snippets."""
        valid = proposal_map(size) if self.on_map else None
        num_items = size if valid is None else int(valid.sum())
        return replace(labelled_candidates(num_items, seed=seed), valid=valid)


def labelled_candidates(num_items: int, *, seed: int = 0, channels: int = 3) -> Candidates:
    """Build items along time with random features and labels."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(num_items, channels, generator=generator)
    return Candidates(
        num_items=num_items,
        features=features,
        tiou=torch.rand(num_items, generator=generator),
        scale=torch.rand(num_items, generator=generator),
        gradient_norm=torch.rand(num_items, generator=generator),
        kernel=features @ features.T + torch.eye(num_items),
    )


def proposal_map(num_snippets: int) -> Tensor:
    """Return the triangular map: a proposal of row d starts at column s and ends inside."""
    duration = torch.arange(num_snippets)[:, None]
    return duration + torch.arange(num_snippets) < num_snippets


ALL_SAMPLERS = [
    Case(Random()),
    Case(Random(), on_map=True),
    Case(Grid()),
    Case(Grid(), on_map=True),
    Case(Grid(random_phase=False), is_deterministic=True, has_probability=False),
    Case(Grid(random_phase=False), on_map=True, is_deterministic=True, has_probability=False),
    Case(Block()),
    Case(Block(), on_map=True),
    Case(FarthestPoint(), has_probability=False),
    Case(FarthestPoint(start=0), is_deterministic=True, has_probability=False),
    # A draw takes a millisecond, and test_dpp.py compares whole subsets.
    Case(DPP(), draws=1000),
    Case(KernelDPP(), draws=1000),
    Case(GradientNorm()),
    Case(IoUBalanced()),
    Case(ScaleBalanced(), on_map=True),
]
