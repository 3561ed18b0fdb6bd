"""Tensors that modules keep from call to call, whose graph was used by a backward."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from sgs.replay.kept import Kept


def graphs_in(kept: Kept) -> list[tuple[Kept, Any, Tensor]]:
    """Return the tensors with a graph in a dict or list, and their keys."""
    # issubclass(), because isinstance() fails on a weak proxy whose object is gone.
    found = [(key, x) for key, x in _items(kept.held) if issubclass(type(x), Tensor)]
    return [(kept, key, x) for key, x in found if x.grad_fn]


def refuse_backward(kept: Kept, key: Any, replayed: Tensor) -> None:
    """Let a backward through a tensor that stays fail, as through its used graph.

    A cached weight was computed by the first pass without a graph, and would pass for a constant.

    Args:
        kept: What holds the tensor.
        key: Its key.
        replayed: The tensor that the second pass has left there, with its graph.
    """

    def refuse(gradient: Tensor) -> None:
        raise RuntimeError(
            "Trying to backward through the graph a second time: the encoder kept "
            f"{kept.label(key)!r} from an earlier call, whose backward used its graph. Let it "
            "compute that anew in each call, or clear it before, as without the sampler."
        )

    stays: Any = dict(_items(kept.held)).get(key)
    is_like = issubclass(type(stays), Tensor) and stays.shape == replayed.shape
    if is_like and torch.allclose(stays, replayed.to(stays), rtol=1e-3, equal_nan=True):
        kept.held[key] = stays = stays.detach() if stays.grad_fn else stays
        stays.requires_grad_().register_hook(refuse)


def _items(held: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(held, dict):
        return held.items()
    return enumerate(held) if isinstance(held, list) else ()
