"""Notes on errors of the encoder, with the items of the failed call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Int64
from torch import Tensor
from torch.utils import _pytree as pytree

from sgs.items.arguments import CallArguments


@contextmanager
def explained(
    items: CallArguments,
    index: Int64[Tensor, " micro_batch"],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Iterator[None]:
    """Add a note to errors raised inside: the items of the micro-batch, and how they were cut.

    Args:
        items: All items.
        index: Positions of the items in the micro-batch.
        args: The encoder's arguments for the micro-batch.
        kwargs: The encoder's keyword arguments.
    """
    try:
        yield
    except Exception as error:
        leaves = pytree.tree_leaves((args, kwargs))
        shapes = [list(x.shape) for x in leaves if isinstance(x, Tensor)]
        item_dim = len(items.lead_shape) - 1
        error.add_note(
            f"SequentialGradientSampler called the encoder on {len(index)} of {items.num_items} "
            f"items, from position {index[:1].tolist()}, cut along item_dim={item_dim} of its "
            f"arguments. It received tensors of shapes {shapes}. {_HINTS[item_dim > 0]}"
        )
        raise


_HINTS = (
    "If the items are [B, N, ...], with a video dimension first, pass item_dim=1.",
    "If the items are [N, ...], without a video dimension, pass item_dim=0.",
)
