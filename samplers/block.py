"""Sampling of one connected block (paper section 3.5, heuristic)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from samplers.base import AbstractSampler
from samplers.candidates import Candidates

# Centres per chunk of the exact probabilities: 1 MiB of keys on a map of 8,256 proposals.
_CENTRES_PER_CHUNK = 16


@dataclass(frozen=True)
class Block(AbstractSampler):
    """Choose one run of consecutive items, or one square block of the proposal map.

    Along time the first item is uniform over all positions at which the run fits. On the map the
    centre is uniform over the proposals, and the block holds the `count` proposals nearest to it in
    Chebyshev distance; at equal distance, the first in row-major order. So a block is a square plus
    a part of the next ring. Near an edge of the map it extends further inside.

    The inclusion probabilities differ between items. On the map they are computed by trying every
    centre. That takes num_items² steps (half a second for 8,256 proposals on one core) and little
    memory.
    """

    @property
    def has_inclusion_probability(self) -> bool:
        """Always."""
        return True

    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        on_map = candidates.valid is not None
        num_places = candidates.num_items if on_map else candidates.num_items - count + 1
        place = torch.randint(num_places, (1,), generator=generator, device=generator.device)
        if candidates.valid is None:
            return place + torch.arange(count, device=place.device)
        cells = candidates.valid.nonzero().T
        return _blocks(cells, place.to(cells.device), count=count)[0]

    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        num_items = candidates.num_items
        if candidates.valid is None:
            item = torch.arange(num_items)
            first = (item - count + 1).clamp(min=0)
            last = item.clamp(max=num_items - count)
            return (last - first + 1).double() / (num_items - count + 1)
        cells = candidates.valid.nonzero().T.contiguous()
        hits = cells.new_zeros(num_items)
        for centres in torch.arange(num_items, device=cells.device).split(_CENTRES_PER_CHUNK):
            blocks = _blocks(cells, centres, count=count)
            hits += torch.bincount(blocks.flatten(), minlength=num_items)
        return hits.double() / num_items


def _blocks(
    cells: Int64[Tensor, "2 items"], centres: Int64[Tensor, " centres"], *, count: int
) -> Int64[Tensor, "centres count"]:
    """Return the `count` cells nearest to each centre, in no particular order."""
    along_durations, along_starts = (axis[centres, None].sub(axis).abs_() for axis in cells)
    distance = torch.maximum(along_durations, along_starts, out=along_starts)
    # One integer orders cells by distance, then by position, so no two are equal.
    num_items = cells.shape[1]
    key = distance.mul_(num_items).add_(torch.arange(num_items, device=cells.device))
    return key.topk(count, largest=False, sorted=False).indices
