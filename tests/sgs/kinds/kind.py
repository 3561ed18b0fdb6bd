"""One line of the tables of encoders: how to build it and what to call it with."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Arguments = dict[str, Tensor]


@dataclass(frozen=True)
class Kind:
    """A kind of encoder that users wrap.

    Args:
        build: Makes the encoder, in training mode; any dtype and seed.
        arguments: The keyword arguments of a call for so many items, each `[num_items, ...]`.
        is_stochastic: Whether a call draws random numbers: the reference must then make the same
            calls.
    """

    build: Callable[[], nn.Module]
    arguments: Callable[[int, torch.Generator], Arguments]
    is_stochastic: bool = False

    def make(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """Build the encoder with the same weights each time."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.build().to(dtype)

    def items(self, num_items: int, dtype: torch.dtype = torch.float64) -> Arguments:
        """Return the same arguments each time, floating point ones in the given precision."""
        arguments = self.arguments(num_items, torch.Generator().manual_seed(1))
        return {n: x.to(dtype) if x.is_floating_point() else x for n, x in arguments.items()}
