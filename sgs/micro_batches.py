"""The division of items into encoder calls, in the first pass and in the second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from sgs.gradients.graph import Graph
from sgs.replay.random_numbers import RandomState
from sgs.sizes import Sizes
from sgs.subset import Subset


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """The items of one call of the first pass.

    Attributes:
        index: Their positions.
        may_repeat: Whether the second pass may encode them again.
    """

    index: Int64[Tensor, " micro_batch"]
    may_repeat: bool


@dataclass(eq=False)
class EncodedMicroBatch:
    """The record of one call of the first pass.

    Attributes:
        index: The positions of its items.
        random_state: The random state before the call.
        drew: Whether the call drew random numbers.
        graph: The kept graph of the call, if any.
    """

    index: Int64[Tensor, " micro_batch"]
    random_state: RandomState
    drew: bool = False
    graph: Graph | None = None

    def take_graph(self) -> Graph | None:
        """Return the kept graph and drop it: it is good for one backward only."""
        graph, self.graph = self.graph, None
        return graph


def consecutive(num_items: int, *, size: int) -> list[MicroBatch]:
    """Return micro-batches of consecutive items; a single empty one if there are none."""
    parts = _split(torch.arange(num_items, device="cpu"), size)
    return [MicroBatch(index, may_repeat=True) for index in parts]


def _split(index: Int64[Tensor, " items"], size: int) -> list[Int64[Tensor, " micro_batch"]]:
    """Return micro-batches of `size` items; the last has fewer, but one item only if it must.

    torch takes other kernels for one item, whose results may differ more than in rounding, and one
    of which is wrong (docs/exactness.md, Limits). The last but one therefore leaves it an item.
    """
    parts = list(index.split(size))
    if size > 2 and len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = index[-size - 1 :].split([size - 1, 2])
    return parts


def sampled_apart(subset: Subset, num_items: int, sizes: Sizes) -> list[MicroBatch]:
    """Return micro-batches of either sampled or unsampled items.

    The second pass repeats the sampled ones, see NOTE [ Replay by micro-batches ]. They are sorted
    by their first item, so that a source can decode a video roughly in order.
    """
    rest = torch.ones(num_items, dtype=torch.bool, device="cpu")
    rest[subset.positions] = False
    others = _split(rest.nonzero()[:, 0], sizes.forward_micro_batch_size) if rest.any() else []
    sampled = _split(subset.positions, sizes.micro_batch_size)
    micro_batches = [MicroBatch(index, may_repeat=True) for index in sampled]
    micro_batches += [MicroBatch(index, may_repeat=False) for index in others]
    return sorted(micro_batches, key=lambda micro_batch: micro_batch.index[:1].tolist())


def repeats_of(
    first_pass: Sequence[EncodedMicroBatch],
    positions: Int64[Tensor, " sampled"],
    *,
    num_items: int,
    size: int,
    couples_items: bool,
    uses_all_kept: bool,
) -> list[EncodedMicroBatch]:
    """Return the micro-batches of the second pass, those with a kept graph first.

    NOTE [ Replay by micro-batches ]
    Random numbers are drawn per encoder call, so an item gets the same dropout mask again only in
    the same micro-batch. Unguided strategies therefore draw their subset first, the first pass
    encodes the sampled items in separate micro-batches, and the second pass repeats exactly those.
    Guided strategies draw their subset afterwards. If the first pass drew no random numbers, the
    sampled items are regrouped, which changes rounding only. Otherwise every micro-batch with a
    sampled item is repeated whole, with zero gradients for its unsampled items.

    Args:
        first_pass: The micro-batches of the first pass.
        positions: The sampled items.
        num_items: The number of all items.
        size: Items per call with a graph.
        couples_items: Whether BatchNorm layers in training mode couple the items of a micro-batch.
            Micro-batches are then repeated whole, as for random numbers.
        uses_all_kept: Whether kept graphs without a sampled item are back-propagated too. Needed
            with sharded parameters, whose backward waits for all processes.

    Raises:
        RuntimeError: If a micro-batch larger than `size` would have to be repeated.
    """
    sampled = torch.zeros(num_items, dtype=torch.bool, device="cpu")
    sampled[positions] = True
    # A call without items has one empty micro-batch, which is needed.
    needed = [m for m in first_pass if len(m.index) == 0 or sampled[m.index].any()]
    kept = [m for m in (first_pass if uses_all_kept else needed) if m.graph]
    repeatable = [m for m in needed if not m.graph]
    if couples_items or any(m.drew for m in first_pass):
        _refuse_larger(repeatable, size)
        return kept + repeatable
    if all(sampled[m.index].all() and len(m.index) <= size for m in repeatable):
        return kept + repeatable
    for micro_batch in kept:
        sampled[micro_batch.index] = False
    parts = _split(sampled.nonzero()[:, 0], size) if sampled.any() else []
    return kept + [EncodedMicroBatch(index, first_pass[0].random_state) for index in parts]


def _refuse_larger(micro_batches: Sequence[EncodedMicroBatch], size: int) -> None:
    largest = max((len(m.index) for m in micro_batches), default=0)
    if largest > size:
        raise RuntimeError(
            f"the encoder drew random numbers in micro-batches of {largest} item(s), more than "
            f"micro_batch_size={size}. The subset was chosen after the first pass, so they would "
            "have to be repeated whole. Leave forward_micro_batch_size at None, switch dropout "
            "off, or use a strategy without features and gradients, e.g. Random()."
        )
