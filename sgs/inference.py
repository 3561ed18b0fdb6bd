"""A forward pass in micro-batches, without a backward."""

from contextlib import closing
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from sgs.distributed import missing_calls
from sgs.gradients.graph import refuse_other_leaves
from sgs.items.arguments import CallArguments
from sgs.items.error_notes import call_noted
from sgs.items.features import FeatureBuffer
from sgs.items.frozen_stem import FrozenStem, run_stem
from sgs.micro_batches import consecutive


def encode_without_graph(
    encoder: nn.Module, items: CallArguments, stem: FrozenStem | None, *, size: int
) -> Any:
    """Return the features of all items, encoded in micro-batches of `size` items.

    Raises:
        RuntimeError: If gradients are enabled and the features depend on trainable parameters
            outside the encoder, e.g. of adapters hooked into a frozen encoder.
    """
    features = FeatureBuffer(items.lead_shape)
    indices = [micro_batch.index for micro_batch in consecutive(items.num_items, size=size)]
    indices += [indices[-1]] * missing_calls(list(encoder.parameters()), len(indices))
    with closing(items.prefetched(indices)) as fetches:
        for index, fetched in zip(indices, fetches, strict=True):
            args, kwargs, _ = items.take(index, fetched=fetched)
            args, kwargs = call_noted(run_stem, items, index, (stem, args, kwargs), {})
            outputs = call_noted(encoder, items, index, args, kwargs)
            if torch.is_grad_enabled():
                refuse_other_leaves(pytree.tree_leaves(outputs), known=[])
            with torch.no_grad():
                features.write(index, outputs)
    return features.restore(features.leaves)
