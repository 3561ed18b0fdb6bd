"""Which micro-batches the second pass consists of."""

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from sgs.encoder_calls import MicroBatch


def repeats_of(
    micro_batches: Sequence[MicroBatch],
    positions: Int64[Tensor, " sampled"],
    *,
    num_items: int,
    size: int,
    couples_items: bool,
    uses_all_kept: bool,
) -> list[MicroBatch]:
    """Return micro-batches that hold all sampled items, those with a kept graph first.

    NOTE [ Replay by groups ]
    Random numbers are drawn per encoder call, so an item meets the same dropout mask again only in
    the same micro-batch. Strategies that do not look at features therefore draw their subset first,
    and `encode` runs the sampled items in micro-batches of their own: `gradients` repeats exactly
    those. A subset that is known only afterwards is regrouped if the first pass drew no random
    number (then grouping changes nothing but rounding); otherwise every micro-batch that holds a
    sampled item is repeated whole, with zero gradients for the others in it.

    Args:
        micro_batches: Those of the first pass.
        positions: The sampled items.
        num_items: The number of all items.
        size: Items per call that keeps a graph.
        couples_items: Whether items are known to depend on their micro-batch, as with BatchNorm in
            training mode: then micro-batches are repeated whole, as for random numbers.
        uses_all_kept: Whether kept graphs are used up even where no item in them is sampled, since
            other processes use theirs.

    Raises:
        RuntimeError: If a micro-batch larger than `size` would have to be repeated.
    """
    sampled = torch.zeros(num_items, dtype=torch.bool, device="cpu")
    sampled[positions] = True
    kept = [m for m in micro_batches if m.graph and (uses_all_kept or sampled[m.index].any())]
    # Without items there is one call, on none.
    rest = [m for m in micro_batches if not m.graph]
    whole = [m for m in rest if len(m.index) == 0 or sampled[m.index].any()]
    if couples_items or any(m.drew for m in micro_batches):
        _refuse_larger(whole, size)
        return kept + whole
    if all(sampled[m.index].all() and len(m.index) <= size for m in whole):
        return kept + whole
    for micro_batch in kept:
        sampled[micro_batch.index] = False
    parts = sampled.nonzero()[:, 0].split(size)
    return kept + [MicroBatch(index, micro_batches[0].random_state) for index in parts]


def _refuse_larger(micro_batches: Sequence[MicroBatch], size: int) -> None:
    largest = max((len(m.index) for m in micro_batches), default=0)
    if largest > size:
        raise RuntimeError(
            f"the encoder drew random numbers in micro-batches of {largest} item(s), more than "
            f"micro_batch_size={size}; they would have to be repeated whole, since the subset was "
            "not known before. Leave forward_micro_batch_size at None, switch dropout off, or use "
            "a strategy that does not look at features."
        )
