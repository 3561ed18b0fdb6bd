"""A forward pass in micro-batches that nothing will come back to."""

from collections.abc import Sequence

from torch import Tensor, nn

from sgs.distributed import missing_calls
from sgs.features import FeatureBuffer
from sgs.graph import refuse_unseen_training
from sgs.items import ItemCall
from sgs.parameters import CalledParameters
from sgs.world import World


def forward_only(encoder: nn.Module, call: ItemCall, groups: Sequence[Tensor]) -> FeatureBuffer:
    """Encode all items, micro-batch by micro-batch, never to come back.

    Raises:
        RuntimeError: If gradients are enabled and the features depend on something that requires
            one, while nothing that the encoder is seen to have does.
    """
    features = FeatureBuffer(call.lead_shape)
    parameters = CalledParameters(encoder)
    world = World(encoder, parameters, call)
    absent = missing_calls(list(encoder.parameters()), len(groups))
    with world.first_pass():
        for index in (*groups, *[groups[-1]] * absent):
            args, kwargs, _ = call.take(index)
            with world.first_call():
                outputs = encoder(*args, **kwargs)
            refuse_unseen_training(outputs)
            features.write(index, outputs)
    return features
