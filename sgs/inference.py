"""A forward pass in micro-batches that nothing will come back to."""

from collections.abc import Sequence
from contextlib import closing

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sgs.distributed import missing_calls
from sgs.gradients.graph import refuse_other_leaves
from sgs.items.arguments import ItemCall
from sgs.items.features import FeatureBuffer
from sgs.items.frozen_stem import Front


def forward_only(
    encoder: nn.Module, call: ItemCall, front: Front, groups: Sequence[Tensor]
) -> FeatureBuffer:
    """Encode all items, micro-batch by micro-batch, for an encoder with nothing to train.

    Raises:
        RuntimeError: If gradients are enabled and the features depend on parameters that train and
            are not the encoder's: adapters hooked into a frozen encoder, or what
            FullyShardedDataParallel has flattened.
    """
    features = FeatureBuffer(call.lead_shape)
    absent = missing_calls(list(encoder.parameters()), len(groups))
    paced = [*groups, *[groups[-1]] * absent]
    with closing(call.prefetched(paced)) as fetches:
        for index, fetched in zip(paced, fetches, strict=True):
            args, kwargs, _ = call.take(index, fetched=fetched)
            args, kwargs = front(args, kwargs)
            outputs = encoder(*args, **kwargs)
            if torch.is_grad_enabled():
                refuse_other_leaves(pytree.tree_leaves(outputs), known=[])
            with torch.no_grad():
                features.write(index, outputs)
    return features
