"""Values that strategies can compare."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from samplers.base import AbstractSampler

# Positions that an error lists.
_LISTED = 5


def finite_rows(
    sampler: AbstractSampler, name: str, values: Float[Tensor, "items columns"]
) -> Float64[Tensor, "items columns"]:
    """Return a field of the candidates in float64.

    Raises:
        ValueError: If a value is not finite, with the rows.
    """
    values = values.to(torch.float64)
    # One pass finds whether a sum is finite; only if it is not, rows are worth looking for.
    if values.sum().isfinite():
        return values
    bad = (~values.isfinite().all(dim=1)).nonzero()[:, 0].tolist()
    if bad:
        listed = ", ".join(map(str, bad[:_LISTED])) + (", ..." if len(bad) > _LISTED else "")
        raise ValueError(
            f"{sampler!r}: expected finite {name}, got NaN or infinity in {len(bad)} of "
            f"{len(values)} rows: {listed}. Similarity to them is undefined. Look for an overflow "
            "(e.g. in float16) in what computed them."
        )
    return values
