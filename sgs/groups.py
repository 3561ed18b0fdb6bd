"""Which items share an encoder call."""

import torch
from torch import Tensor

from sgs.subset import Subset


def in_order(num_items: int, *, size: int) -> list[Tensor]:
    """Return micro-batches of consecutive items; a single empty one if there are none."""
    return list(torch.arange(num_items, device="cpu").split(size))


def sampled_first(subset: Subset, num_items: int, *, size: int, rest_size: int) -> list[Tensor]:
    """Return micro-batches in which sampled items are among themselves.

    See NOTE [ Replay by groups ]: the second pass repeats the first of them.
    """
    rest = torch.ones(num_items, dtype=torch.bool, device="cpu")
    rest[subset.positions] = False
    others = rest.nonzero()[:, 0].split(rest_size) if rest.any() else ()
    return [*subset.positions.split(size), *others]
