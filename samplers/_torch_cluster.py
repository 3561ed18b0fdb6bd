"""Farthest point sampling by the optional package torch_cluster."""

from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from samplers._maximin import scaled


def torch_cluster() -> Any:
    """Return the package.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import torch_cluster  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ImportError(
            "FarthestPoint(backend='torch_cluster'): expected the package torch-cluster, which is "
            "not installed. `pip install --no-build-isolation torch-cluster` compiles it; the "
            "default backend needs nothing."
        ) from error
    return torch_cluster


def farthest_points(
    features: Float64[Tensor, "items channels"], first: int, *, count: int
) -> list[int]:
    """Choose the same items as `_maximin.farthest_points`, except among equally far ones.

    torch_cluster starts at the first item of a set, truncates distances above 5e4 on CUDA, and
    repeats items if all others coincide with chosen ones.
    """
    num_items = len(features)
    order = torch.arange(num_items)
    order[0], order[first] = first, 0
    # torch_cluster rounds ratio · num_items up.
    ratio = (count - 0.5) / num_items
    index = torch_cluster().fps(scaled(features)[order], ratio=ratio, random_start=False)
    chosen = list(dict.fromkeys(order[index.cpu()].tolist()))
    is_left = torch.ones(num_items, dtype=torch.bool)
    is_left[chosen] = False
    return chosen + is_left.nonzero()[: count - len(chosen), 0].tolist()
