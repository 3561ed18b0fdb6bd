"""Checks for NaN and infinity in the fields of candidates."""

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from samplers.base import AbstractSampler

# The most positions that an error message lists.
_LISTED = 5


def finite_rows(
    sampler: AbstractSampler, name: str, values: Float[Tensor, "items columns"]
) -> Float64[Tensor, "items columns"]:
    """Return a field of the candidates in float64.

    Raises:
        ValueError: If a value is not finite; the message lists the rows.
    """
    values = values.to(torch.float64)
    # The sum takes one pass. Rows are searched only if it is not finite.
    if values.sum().isfinite():
        return values
    bad = ~values.isfinite().all(dim=1)
    if bad.any():
        raise ValueError(
            f"{sampler!r}: expected finite {name}, got NaN or infinity in {listed(bad)}. Nothing "
            "can be chosen by them. Look for an overflow in their computation, e.g. in float16."
        )
    return values


def listed(bad: Bool[Tensor, " items"]) -> str:
    """Return the number of bad rows and the first of them, as text."""
    rows = bad.nonzero()[:, 0].tolist()
    more = ", ..." if len(rows) > _LISTED else ""
    return f"{len(rows)} of {len(bad)} rows: {', '.join(map(str, rows[:_LISTED]))}{more}"
