"""Sampling on a grid (paper section 3.5, heuristic)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from samplers.base import AbstractSampler
from samplers.candidates import Candidates

# With this shift, successive rows of the lattice never line up (see `_lattice`).
_GOLDEN_RATIO = (5**0.5 - 1) / 2
# Bits of the phase of a cell. Together with 31 bits for its position they fit into an int64.
_PHASE_BITS = 32


@dataclass(frozen=True)
class Grid(AbstractSampler):
    """Choose with a fixed stride along time, or a lattice on the proposal map.

    Along time the gaps differ by at most one item. On the map the chosen cells form a lattice that
    is equally dense along durations and starts, for any `count` and shape of the map. Both have
    exactly `count` items.

    Args:
        random_phase: Shift the grid at random, so that every item has the inclusion probability
            `count / num_items`. If False the grid is fixed, and most items are never chosen.
    """

    random_phase: bool = True

    @property
    def has_inclusion_probability(self) -> bool:
        """Only if the phase is random."""
        return self.random_phase

    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        num_items = candidates.num_items
        # In the middle of a stride, so the fixed grid has the same distance to both ends.
        first = torch.tensor([num_items // 2])
        if self.random_phase:
            first = torch.randint(
                num_items, (1,), generator=generator, device=generator.device
            ).cpu()
        if candidates.valid is None:
            # floor(first / count + i * num_items / count), in integers to avoid rounding.
            return (torch.arange(count) * num_items + first) // count
        return _lattice(candidates.valid.cpu(), first, count=count)

    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        if not self.random_phase:
            raise ValueError(
                f"{self!r}.inclusion_probability(): a fixed grid is deterministic, so items off "
                "the grid are never chosen and no weights make it unbiased. Use "
                "Grid(random_phase=True)."
            )
        probability = count / candidates.num_items
        return torch.full((candidates.num_items,), probability, dtype=torch.float64)


def _lattice(
    valid: Bool[Tensor, "durations starts"], first: Int64[Tensor, " 1"], *, count: int
) -> Int64[Tensor, " count"]:
    """Return the positions of `count` cells that form a lattice, `first` among them.

    A cell has the phase `start * density + duration * golden ratio` modulo 1. The cells with a
    phase in a window of length `density` form a Kronecker lattice: every (1 / density)-th cell of
    each row, shifted from row to row by the golden ratio of that stride. Here the window is
    replaced by the first cell and the `count - 1` cells that follow it in the cyclic order of
    phases. This makes the count exact. With a uniformly random first cell, each cell has exactly
    the probability `count / num_items`.
    """
    duration, start = valid.nonzero().T
    num_items = len(start)
    turn = 2**_PHASE_BITS
    phase = start * round(count / num_items * turn) + duration * round(_GOLDEN_RATIO * turn)
    # Positions break ties, so no two keys are equal. Differences are modulo one turn.
    position_bits = num_items.bit_length()
    key = (phase.bitwise_and_(turn - 1) << position_bits).add_(torch.arange(num_items))
    behind = (key - key[first]).bitwise_and_((turn << position_bits) - 1)
    index: Tensor = behind.topk(count, largest=False, sorted=False).indices
    return index
