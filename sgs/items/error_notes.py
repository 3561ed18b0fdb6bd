"""Notes on errors of the encoder, with the items of the failed call."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils import _pytree as pytree

from sgs.items.arguments import CallArguments


def call_noted(
    function: Callable[..., Any],
    items: CallArguments,
    index: Int64[Tensor, " micro_batch"],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call the encoder, and add a note to its errors: the micro-batch, and how it was cut.

    The first pass runs without gradients, so torch.autograd.grad inside the encoder fails in it.
    That error is replaced by one that tells what to do.

    Args:
        function: The encoder, or the stem.
        items: All items.
        index: Positions of the items in the micro-batch.
        args: The arguments for the micro-batch.
        kwargs: The keyword arguments.

    Raises:
        RuntimeError: If the encoder takes gradients itself and does not enable them.
    """
    try:
        return function(*args, **kwargs)
    except Exception as error:
        shapes = [
            list(x.shape) for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)
        ]
        item_dim = len(items.lead_shape) - 1
        raised = RuntimeError(_TAKES_GRADIENTS) if _takes_gradients(error) else error
        # An exception of the user's may refuse notes, and must not be replaced.
        with suppress(Exception):
            raised.add_note(
                f"SequentialGradientSampler was encoding {len(index)} of {items.num_items} items, "
                f"from position {index[:1].tolist()}, cut along item_dim={item_dim} of the "
                f"arguments, as tensors of shapes {shapes}. {_HINTS[item_dim > 0]}"
            )
        if raised is not error:
            raise raised from error
        raise


def _takes_gradients(error: Exception) -> bool:
    """Tell whether the call failed because it asked for gradients in a pass without them."""
    return not torch.is_grad_enabled() and "does not require grad" in str(error)


_TAKES_GRADIENTS = (
    "the encoder takes gradients itself, e.g. by torch.autograd.grad, but this pass over the items "
    "runs without gradients. Wrap that part of its forward in `with torch.enable_grad():`, the "
    "computation of what it differentiates included."
)
_HINTS = (
    "If the items are [B, N, ...], with a video dimension first, pass item_dim=1.",
    "If the items are [N, ...], without a video dimension, pass item_dim=0.",
)
