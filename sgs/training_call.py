"""Which items share an encoder call, and whether the subset is drawn before the first pass."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sgs.encoder_calls import Group
from sgs.engine import TwoPasses
from sgs.items.features import FeatureBuffer
from sgs.subset import Subset, SubsetDraw


def encode_and_draw(
    passes: TwoPasses, draw: SubsetDraw, *, size: int, forward_size: int, num_kept: int
) -> tuple[FeatureBuffer, Subset | None]:
    """Run the first pass and draw the subset, in the order that the strategy asks for.

    The subset is None if it can only be drawn in the backward.

    Args:
        passes: What encodes the items.
        draw: The rule that draws.
        size: Items per call of those that will be encoded again, if they are known.
        forward_size: Items per call of the others.
        num_kept: How many micro-batches of sampled items keep their graph, if they are known.
    """
    lead, count = passes.call.lead_shape, passes.call.num_items
    if draw.is_guided and count > 0:
        any_of_them = [Group(index, repeats=True) for index in in_order(count, size=forward_size)]
        features = passes.encode(any_of_them)
        if draw.needs_gradients:
            return features, None
        subset = draw(lead[:-1].numel(), lead[-1], features=features.of_sampling())
        return features, subset
    subset = draw(lead[:-1].numel(), lead[-1])
    groups = sampled_apart(subset, count, size=size, rest_size=forward_size)
    return passes.encode(groups, num_kept=num_kept), subset


def in_order(num_items: int, *, size: int) -> list[Tensor]:
    """Return micro-batches of consecutive items; a single empty one if there are none."""
    return list(torch.arange(num_items, device="cpu").split(size))


def sampled_apart(subset: Subset, num_items: int, *, size: int, rest_size: int) -> Sequence[Group]:
    """Return micro-batches in which sampled items are among themselves.

    See NOTE [ Replay by groups ]: the second pass repeats those. They are in the order of their
    first items, so that a source which decodes a video meets them in about its order.
    """
    rest = torch.ones(num_items, dtype=torch.bool, device="cpu")
    rest[subset.positions] = False
    others = rest.nonzero()[:, 0].split(rest_size) if rest.any() else ()
    groups = [Group(index, repeats=True) for index in subset.positions.split(size)]
    groups += [Group(index, repeats=False) for index in others]
    return sorted(groups, key=lambda group: group.index[:1].tolist())
