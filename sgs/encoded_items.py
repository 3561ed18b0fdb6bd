"""The explicit form of sequentialized gradient sampling."""

import math
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils import _pytree as pytree

from sgs.gradients.graph import back_propagate
from sgs.items.features import FeatureBuffer, is_differentiable
from sgs.subset import Subset
from sgs.training_call import TrainingCall


class EncodedItems:
    """The features of one call, with the backward of stage 3; returned by `encode`.

    Attributes:
        features: Leaf tensors in the structure of the encoder's output, `[N, ...]` or
            `[B, N, ...]`. Those of floating-point or complex dtype require a gradient.
        index: The drawn items, ascending positions `[count]` or `[B, count]`. Gradient-guided
            strategies draw in `backward`; it is None before.

    Example:
        >>> import torch
        >>> from sgs import SequentialGradientSampler
        >>> encoder = torch.nn.Linear(3, 4)
        >>> sampler = SequentialGradientSampler(encoder, micro_batch_size=2, ratio=0.5)
        >>> encoded = sampler.encode(torch.randn(10, 3))
        >>> encoded.features.square().mean().backward()
        >>> encoded.backward(encoded.features.grad)
        >>> sampler.encoder.weight.grad.shape
        torch.Size([4, 3])
    """

    def __init__(self, call: TrainingCall, features: FeatureBuffer) -> None:
        self._call = call
        self._buffer = features
        self.features = pytree.tree_map(_leaf, features.restore(features.leaves))

    @property
    def index(self) -> Int64[Tensor, "*videos count"] | None:
        """The items that were drawn."""
        return self._call.index

    def backward(
        self, feature_gradients: Any, index: Int64[Tensor, "*videos count"] | None = None
    ) -> None:
        """Accumulate gradients into `.grad`, as `loss.backward()` does (stage 3).

        Args:
            feature_gradients: The gradient of the loss with respect to `features`, in their
                structure and shape; None for a leaf that the loss does not depend on.
            index: The items whose gradient is used, each with weight 1: distinct positions
                `[count]` or `[B, count]`. If None, the drawn ones, with the weights of the sampler.

        Raises:
            ValueError: If the structure or a shape of the gradients is not that of the features, or
                `index` has another shape or dtype, or repeated or nonexistent positions.
            RuntimeError: As in the backward of a call.
        """
        leaves = self._buffer.flatten(feature_gradients)
        gradients = self._call.gradients(leaves, None if index is None else self._subset(index))
        found = zip(self._call.inputs, gradients, strict=True)
        back_propagate((tensor, gradient) for tensor, gradient in found if gradient is not None)

    def _subset(self, index: Any) -> Subset:
        *videos, num_items = self._call.items.lead_shape
        if (
            not isinstance(index, Tensor)
            or index.dtype != torch.int64
            or list(index.shape[:-1]) != videos
            or index.ndim != len(videos) + 1
        ):
            raise ValueError(
                f"index={index!r}: expected an int64 tensor of shape {[*videos, 'count']}, the "
                "positions of the items in each video."
            )
        return Subset.of(index.reshape(math.prod(videos), -1), num_items)


def _leaf(feature: Any) -> Any:
    if isinstance(feature, Tensor) and is_differentiable(feature):
        return feature.requires_grad_()
    return feature
