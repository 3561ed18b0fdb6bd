"""The cases of `sampler_time.py`: the strategies of `samplers`, and their peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.draws.peers import (
    DPPY,
    DPPY_DUAL,
    FPSAMPLE,
    PEERS,
    TORCH_CLUSTER,
    TORCH_CLUSTER_64,
    missing,
    refusal,
)
from benchmarks.draws.settings import HEADLINE, LARGEST_KERNEL, Setting
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

SAMPLE, PROBABILITY = "sample", "inclusion probability"
FARTHEST, FARTHEST_CLUSTER = "FarthestPoint", "FarthestPoint, torch_cluster"
STRATEGIES: dict[str, AbstractSampler] = {
    "Random": Random(),
    "Grid": Grid(),
    "Block": Block(),
    "IoUBalanced": IoUBalanced(),
    "ScaleBalanced": ScaleBalanced(),
    "DPP": DPP(),
    "KernelDPP": KernelDPP(),
    FARTHEST: FarthestPoint(start=0),
    "GradientNorm": GradientNorm(),
}
# The most items for each: with more, a call takes 10 s to minutes on a CPU core.
_LARGEST = {
    ("Block", PROBABILITY): HEADLINE.num_items,
    ("KernelDPP", SAMPLE): LARGEST_KERNEL,
    ("KernelDPP", PROBABILITY): LARGEST_KERNEL,
    (FARTHEST_CLUSTER, SAMPLE): HEADLINE.num_items,
    (TORCH_CLUSTER_64, SAMPLE): HEADLINE.num_items,
    (DPPY, SAMPLE): 2000,
    (DPPY_DUAL, SAMPLE): 2000,
}


@dataclass(frozen=True)
class Draw:
    """One case: a strategy or a peer, and what it computes.

    Attributes:
        method: Name of the strategy or peer.
        what: `SAMPLE` or `PROBABILITY`.
        run: Computes it once.
        unavailable: Why it cannot be timed here, or None.
        is_slow: Whether it takes minutes and is timed once only.
    """

    method: str
    what: str
    run: Callable[[], Any]
    unavailable: str | None = None
    is_slow: bool = False

    @property
    def key(self) -> str:
        return f"{self.method} {self.what}"

    @property
    def is_farthest_point(self) -> bool:
        """Whether it chooses by the same rule as `FarthestPoint(start=0)`."""
        peers = (TORCH_CLUSTER, TORCH_CLUSTER_64, FPSAMPLE)
        return self.method in (FARTHEST, FARTHEST_CLUSTER, *peers)


def draws_of(setting: Setting, candidates: Candidates, *, with_dppy: bool) -> list[Draw]:
    """Return all cases of these candidates.

    Args:
        setting: The setting that the candidates were made from.
        candidates: The items to choose from.
        with_dppy: Whether to call DPPy even where it takes long.
    """
    draws = [*_ours(setting, candidates), *_peers(setting, candidates)]
    return [_with_reason(draw, setting, candidates, with_dppy=with_dppy) for draw in draws]


def _ours(setting: Setting, candidates: Candidates) -> Iterator[Draw]:
    generator = torch.Generator().manual_seed(0)
    for method, sampler in STRATEGIES.items():
        if setting.only_features and "features" not in sampler.requires:
            continue
        sample = partial(sampler.sample, candidates, setting.count, generator=generator)
        yield Draw(method, SAMPLE, sample)
        if sampler.has_inclusion_probability:
            probability = partial(sampler.inclusion_probability, candidates, setting.count)
            yield Draw(method, PROBABILITY, probability)
    yield Draw(FARTHEST_CLUSTER, SAMPLE, partial(_farthest_cluster, candidates, setting.count))


def _farthest_cluster(candidates: Candidates, count: int) -> Tensor:
    # Not among `STRATEGIES`: the constructor raises without the package.
    return FarthestPoint(start=0, backend="torch_cluster").sample(candidates, count)


def _peers(setting: Setting, candidates: Candidates) -> Iterator[Draw]:
    for method, peer in PEERS.items():
        assert candidates.features is not None
        yield Draw(method, SAMPLE, partial(peer, candidates.features, setting.count))


def _with_reason(draw: Draw, setting: Setting, candidates: Candidates, *, with_dppy: bool) -> Draw:
    peer = TORCH_CLUSTER if draw.method == FARTHEST_CLUSTER else draw.method
    reason = missing(peer, candidates.device) or refusal(peer, setting)
    largest = _LARGEST.get((draw.method, draw.what), setting.num_items)
    is_slow = setting.num_items > largest
    at_headline = draw.method == DPPY and setting == HEADLINE
    is_wanted = with_dppy and (at_headline or draw.method == DPPY_DUAL)
    if reason is None and is_slow and not is_wanted:
        reason = f"takes long: timed up to {largest:,} items only"
    return replace(draw, unavailable=reason, is_slow=is_slow)
