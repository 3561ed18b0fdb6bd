"""Which items share an encoder call, and whether the subset is drawn before the first pass."""

import torch
from torch import Tensor

from sgs.engine import TwoPasses
from sgs.features import FeatureBuffer
from sgs.subset import Subset, SubsetDraw


def encode_and_draw(
    passes: TwoPasses, draw: SubsetDraw, *, size: int, forward_size: int
) -> tuple[FeatureBuffer, Subset]:
    """Run the first pass and draw the subset, in the order that the strategy asks for.

    Args:
        passes: What encodes the items.
        draw: The rule that draws.
        size: Items per call of those that will be encoded again, if they are known.
        forward_size: Items per call of the others.
    """
    lead, count = passes.call.lead_shape, passes.call.num_items
    if draw.needs_features and count > 0:
        features = passes.encode(in_order(count, size=forward_size))
        subset = draw(lead[:-1].numel(), lead[-1], features=features.of_sampling())
        return features, subset
    subset = draw(lead[:-1].numel(), lead[-1])
    groups = sampled_first(subset, count, size=size, rest_size=forward_size)
    return passes.encode(groups), subset


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
