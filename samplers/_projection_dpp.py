"""Sampling from a projection determinantal point process."""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

# Proposals per block. Each costs one row of the basis; each drawn item, one product with the block.
_PROPOSALS_PER_BLOCK = 256


def sample_projection(
    basis: Float64[Tensor, "items rank"], generator: torch.Generator
) -> Int64[Tensor, " rank"]:
    """Draw `rank` items with probability det(B_S)², for the orthonormal columns of B.

    The chain rule draws the next item with probability proportional to the squared norm of its
    row after projecting out the rows drawn before. This is done by rejection: an item is proposed
    by the squared norm of its whole row, and accepted with the fraction that remains after the
    projection. The law is the same, but only proposed rows are projected: about rank · log(rank) in
    all, instead of every row for every drawn item.

    Rows are gathered from the device of `basis`. All else runs on the CPU, where a loop of small
    steps is fastest.
    """
    rank = basis.shape[1]
    leverage = basis.square().sum(dim=1).cpu()
    cumulative = leverage.cumsum(dim=0)
    directions = leverage.new_zeros(rank, rank)
    drawn: list[int] = []
    while len(drawn) < rank:
        uniform = torch.rand(
            2,
            _PROPOSALS_PER_BLOCK,
            generator=generator,
            dtype=torch.float64,
            device=generator.device,
        ).cpu()
        # right=True skips items of leverage 0.
        proposals = torch.searchsorted(cumulative, uniform[0] * cumulative[-1], right=True)
        rows = basis[proposals.to(basis.device)].cpu()
        _accept(proposals, rows, uniform[1] * leverage[proposals], directions, drawn)
    return torch.tensor(drawn, dtype=torch.int64)


def _accept(
    proposals: Int64[Tensor, " block"],
    rows: Float64[Tensor, "block rank"],
    threshold: Float64[Tensor, " block"],
    directions: Float64[Tensor, "rank rank"],
    drawn: list[int],
) -> None:
    """Go through the proposals in order, and add accepted ones to `directions` and `drawn`."""
    known = directions[: len(drawn)]
    left = rows.square().sum(dim=1) - (rows @ known.T).square().sum(dim=1)
    # The remainder of a drawn row is 0 up to rounding; it must not be drawn again.
    left[torch.isin(proposals, torch.tensor(drawn, dtype=torch.int64))] = 0
    while len(drawn) < len(directions):
        # Remainders only shrink, so a refused proposal is not accepted later.
        accepted = (threshold < left).nonzero()
        if len(accepted) == 0:
            return
        position = int(accepted[0])
        direction = _orthonormalise(rows[position], directions[: len(drawn)])
        directions[len(drawn)] = direction
        drawn.append(int(proposals[position]))
        left -= (rows @ direction).square()
        left[proposals == drawn[-1]] = 0


def _orthonormalise(
    row: Float64[Tensor, " rank"], known: Float64[Tensor, "drawn rank"]
) -> Float64[Tensor, " rank"]:
    # Twice is enough: the first pass leaves a rounding error relative to the whole row.
    for _ in range(2):
        row = row - (known @ row) @ known
    unit: Tensor = row / row.norm()
    return unit
