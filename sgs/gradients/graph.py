"""The graph of one encoder call, and its backward."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Graph:
    """One call of the encoder with its graph.

    Attributes:
        outputs: The leaves of the output pytree.
        cuts: The micro-batch's rows of each item tensor, leaf tensors of the graph.
    """

    outputs: list[Any]
    cuts: list[Tensor]


def refuse_other_leaves(outputs: Iterable[Any], known: Collection[Tensor | None]) -> None:
    """Refuse outputs that depend on a parameter outside the encoder.

    Its gradient would be accumulated once per micro-batch, bypassing the user's graph. Examples are
    parameters of a module in a plain list or a closure, and those behind a tensor that was computed
    before the call and is not an argument of it.

    Args:
        outputs: The features of a micro-batch, with their graph.
        known: The leaves that the graph may end in.

    Raises:
        RuntimeError: If it ends in another parameter.
    """
    expected = {id(tensor) for tensor in known}
    tensors = [x for x in outputs if isinstance(x, Tensor)]
    pending = [x.grad_fn for x in tensors if x.grad_fn is not None]
    seen = set(pending)
    while pending:
        node = pending.pop()
        leaf = getattr(node, "variable", None)  # only leaves' nodes have it
        # A leaf that is not a parameter may have been created in the forward pass.
        if isinstance(leaf, nn.Parameter) and id(leaf) not in expected:
            raise RuntimeError(
                f"the encoder's output depends on a parameter of shape {list(leaf.shape)} that is "
                "not one of the encoder's. Register it, or the module that owns it, as an attribute"
                " of the encoder. Or compute with it before the call, and pass the result as an "
                "argument, wrapped in Shared(...)."
            )
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                pending.append(following)


@contextmanager
def saved_tensors_explained(*, is_kept: bool) -> Iterator[None]:
    """Replace autograd's error about a changed saved tensor, if the graph was kept.

    Args:
        is_kept: Whether the graph was kept while other micro-batches were encoded.

    Raises:
        RuntimeError: With the reason and the way out.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_kept or "modified by an inplace operation" not in str(error):
            raise
        raise RuntimeError(
            "the encoder changes in place a tensor that its backward reads, e.g. a buffer. A kept "
            "graph would be back-propagated with the value of a later micro-batch. Pass "
            "kept_graphs=0."
        ) from error


def back_propagate(gradients: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Accumulate gradients into the leaves of all tensors' graphs, in one backward pass."""
    pairs = list(gradients)
    if pairs:
        torch.autograd.backward([t for t, _ in pairs], [g for _, g in pairs])


def back_propagate_rows(
    outputs: Sequence[Any],
    feature_gradients: Sequence[Tensor | None],
    index: Tensor,
    weight: Tensor | None,
) -> None:
    """Back-propagate one micro-batch's rows of the feature gradients.

    Args:
        outputs: The features of the micro-batch, with their graph.
        feature_gradients: One per output, with one row per item of the call; None for no gradient.
        index: The items of the micro-batch.
        weight: The factor of each item's gradient, for all items of the call; None for 1.
    """
    back_propagate(
        (output, _weighted(gradient, index, weight))
        for output, gradient in zip(outputs, feature_gradients, strict=True)
        if gradient is not None and output.requires_grad
    )


def _weighted(gradient: Tensor, index: Tensor, weight: Tensor | None) -> Tensor:
    rows = gradient[index.to(gradient.device)]
    if weight is None:
        return rows
    # Multiplied in float32: half precision would round twice. Weight 0 must also hide inf and NaN.
    wide = torch.promote_types(rows.dtype, torch.float32)
    factor = weight[index].to(rows.device, wide).view(-1, *[1] * (rows.ndim - 1))
    return (rows.to(wide) * factor).masked_fill(factor == 0, 0).to(rows.dtype)
