"""The graph of one encoder call, and how gradients enter it."""

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
        outputs: The leaves of its outputs.
        cuts: The part of each item tensor that the call received, in the graph.
    """

    outputs: list[Any]
    cuts: list[Tensor]


def refuse_other_leaves(outputs: Iterable[Any], known: Collection[Tensor | None]) -> None:
    """Refuse outputs that depend on parameters which the encoder does not hold.

    Their gradients would be accumulated once per micro-batch, past the user's graph: those of a
    module that is no submodule, e.g. in a plain list or a closure, or behind a tensor computed
    before the call that is not an argument of it.

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
        leaf = getattr(node, "variable", None)  # only the nodes of leaves have one
        # Leaves that are no parameters may have been made inside of the forward pass.
        if isinstance(leaf, nn.Parameter) and id(leaf) not in expected:
            raise RuntimeError(
                f"the encoder's output depends on a parameter of shape {list(leaf.shape)} that is "
                "not one of the encoder's. Register it, or the module that owns it, as an attribute"
                " of the encoder; or pass what is computed from it as an argument, wrapped in "
                "Shared(...)."
            )
        fresh = {n for n, _ in node.next_functions if n is not None} - seen
        seen |= fresh
        pending += fresh


@contextmanager
def saved_tensors_explained(*, is_kept: bool) -> Iterator[None]:
    """Say what to do if a kept graph saved a tensor that has changed since.

    Args:
        is_kept: Whether the graph was kept while other micro-batches were encoded.

    Raises:
        RuntimeError: In the place of autograd's own error.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_kept or "modified by an inplace operation" not in str(error):
            raise
        raise RuntimeError(
            "the encoder changes in place a tensor that its backward reads, e.g. a buffer, and a "
            "micro-batch that kept its graph finds the value of a later one. Pass kept_graphs=0."
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
        feature_gradients: One per output, with a row for each of all items; None for no gradient.
        index: The items of the micro-batch.
        weight: What the gradient of each of all items is multiplied by; None for 1.
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
    # Half precision would round the product before it is used; zeros must also hide inf and NaN.
    wide = torch.promote_types(rows.dtype, torch.float32)
    factor = weight[index].to(rows.device, wide).view(-1, *[1] * (rows.ndim - 1))
    return (rows.to(wide) * factor).masked_fill(factor == 0, 0).to(rows.dtype)
