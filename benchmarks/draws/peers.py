"""Other implementations of the strategies of `samplers`. All but PyTorch are optional."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.draws.settings import Setting
from samplers import DPP

RANDPERM = "torch.randperm"
TORCH_CLUSTER, TORCH_CLUSTER_64 = "torch_cluster", "torch_cluster, float64"
FPSAMPLE, FPSAMPLE_BUCKETS = "fpsample", "fpsample, buckets"
DPPY, DPPY_DUAL = "DPPy", "DPPy, Gram factor, no jitter"
# fpsample compiles its trees for so many channels.
_MOST_CHANNELS_OF_BUCKETS = 8


def randperm(features: Tensor, count: int) -> Tensor:
    return torch.randperm(len(features), device=features.device)[:count]


def torch_cluster(features: Tensor, count: int) -> Tensor:
    # fps rounds ratio · num_items up.
    ratio = (count - 0.5) / len(features)
    index: Tensor = import_module("torch_cluster").fps(features, ratio=ratio, random_start=False)
    return index


def fpsample(features: Tensor, count: int) -> Any:
    return import_module("fpsample").fps_sampling(features.cpu().numpy(), count, start_idx=0)


def fpsample_buckets(features: Tensor, count: int) -> Any:
    points = features.cpu().numpy()
    # The depth of the tree is limited by the number of items.
    depth = min(7, len(points).bit_length() - 1)
    return import_module("fpsample").bucket_fps_kdline_sampling(points, count, depth, start_idx=0)


def dppy(features: Tensor, count: int) -> list[int]:
    """Draw from the kernel of `DPP()`, built anew because features change in every step."""
    rows = torch.nn.functional.normalize(features.double(), dim=1).cpu().numpy()
    kernel = rows @ rows.T
    kernel.flat[:: len(kernel) + 1] += DPP().jitter
    return _dppy_sample(count, L=kernel)


def torch_cluster_64(features: Tensor, count: int) -> Tensor:
    """Compute in float64, as `FarthestPoint` does."""
    return torch_cluster(features.double(), count)


def dppy_dual(features: Tensor, count: int) -> list[int]:
    """Draw from the kernel without jitter, by its Gram factor: the cheapest way in DPPy."""
    rows = torch.nn.functional.normalize(features.double(), dim=1).cpu().numpy()
    return _dppy_sample(count, L_gram_factor=rows.T)


def _dppy_sample(count: int, **kernel: Any) -> list[int]:
    finite_dpps = import_module("dppy.finite_dpps")
    # DPPy prints how it decomposes the kernel.
    with contextlib.redirect_stdout(io.StringIO()):
        process = finite_dpps.FiniteDPP("likelihood", **kernel)
        index: list[int] = process.sample_exact_k_dpp(size=count, random_state=0)
    return index


PEERS: dict[str, Callable[[Tensor, int], Any]] = {
    RANDPERM: randperm,
    TORCH_CLUSTER: torch_cluster,
    TORCH_CLUSTER_64: torch_cluster_64,
    FPSAMPLE: fpsample,
    FPSAMPLE_BUCKETS: fpsample_buckets,
    DPPY: dppy,
    DPPY_DUAL: dppy_dual,
}
# By the part of a name before the comma.
_PACKAGES = {TORCH_CLUSTER: "torch_cluster", FPSAMPLE: "fpsample", DPPY: "dppy.finite_dpps"}


def missing(method: str, device: torch.device) -> str | None:
    """Return why the package of a peer cannot be used here, or None."""
    package = _PACKAGES.get(method.split(",")[0])
    if package is None:
        return None
    try:
        import_module(package)
    except ImportError as error:
        return f"not installed: {error}"
    if package == "torch_cluster" and device.type == "cuda":
        is_compiled = torch.ops.torch_cluster.cuda_version() >= 0
        return None if is_compiled else "compiled without CUDA"
    return None


def refusal(method: str, setting: Setting) -> str | None:
    """Return why a peer cannot draw this sample, or None."""
    if method == FPSAMPLE_BUCKETS and setting.channels > _MOST_CHANNELS_OF_BUCKETS:
        return f"compiled for at most {_MOST_CHANNELS_OF_BUCKETS} channels"
    if method == DPPY_DUAL and setting.count > min(setting.channels, setting.num_items - 1):
        return "chooses no more items than channels"
    return None
