"""Independent random streams, one for each key."""

import hashlib

import torch
from jaxtyping import Float64
from torch import Tensor


def derived_generator(key: tuple[int | str, ...]) -> torch.Generator:
    """Return a generator seeded by `key`, the same in every process and for any order of calls.

    Neighbouring keys, such as (seed, epoch, item), give unrelated streams, which seeds that are
    sums of their parts do not.

    Example:
        >>> first, again = (derived_generator((0, 7, "flip")) for _ in range(2))
        >>> bool(torch.rand(3, generator=first).equal(torch.rand(3, generator=again)))
        True
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    # Seeds are signed 64-bit integers.
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)


def uniform(
    *shape: int, generator: torch.Generator, low: float = 0.0, high: float = 1.0
) -> Float64[Tensor, "..."]:
    """Draw uniformly from [low, high), in double precision."""
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)
