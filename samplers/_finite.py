"""Values that strategies can compare."""

import torch
from jaxtyping import Bool, Float, Float64
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
    bad = ~values.isfinite().all(dim=1)
    if bad.any():
        raise ValueError(
            f"{sampler!r}: expected finite {name}, got NaN or infinity in {listed(bad)}. Nothing "
            "can be chosen by them. Look for an overflow (e.g. in float16) in what computed them."
        )
    return values


def listed(bad: Bool[Tensor, " items"]) -> str:
    """Return how many rows are bad, and which."""
    rows = bad.nonzero()[:, 0].tolist()
    more = ", ..." if len(rows) > _LISTED else ""
    return f"{len(rows)} of {len(bad)} rows: {', '.join(map(str, rows[:_LISTED]))}{more}"
