"""From the gradients of features into the graphs of micro-batches."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


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
