"""A subset that is drawn when the gradients of the features are known."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sgs.subset import Subset

# From the gradients of all leaves of the features; None where the loss does not depend on one.
SubsetOf = Callable[[Sequence[Tensor | None]], Subset]


def gradient_norms(
    gradients: Sequence[Tensor | None], lead_shape: torch.Size
) -> Float[Tensor, "videos items"]:
    """Return the norm of each item's gradient, over all leaves.

    Loss scaling lets gradients overflow and then leaves the step out. So that it sees the overflow,
    items with a gradient that is not finite count as the only ones that matter.
    """
    squares = torch.zeros(lead_shape.numel(), dtype=torch.float64, device="cpu")
    for gradient in gradients:
        if gradient is not None:
            # Squares of half precision overflow.
            wide = gradient.to(torch.promote_types(gradient.dtype, torch.float64))
            rows = wide.reshape(lead_shape.numel(), -1)
            squares += torch.linalg.vector_norm(rows, dim=1).square().cpu()
    if not squares.isfinite().all():
        squares = (~squares.isfinite()).double()
    return squares.sqrt().view(lead_shape[:-1].numel(), lead_shape[-1])
