"""The three stages of sequentialized gradient sampling (paper section 3.3, Alg. 1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sgs.alias import aliased_parameters
from sgs.batch_norm import batch_norm_buffers
from sgs.features import FeatureBuffer
from sgs.items import ItemCall
from sgs.replay import (
    Autocast,
    RandomState,
    Witness,
    fast_path_disabled,
    involved_devices,
)
from sgs.subset import Subset


@dataclass(frozen=True)
class MicroBatch:
    """One encoder call of the first pass: its items, and the random state that it started from."""

    index: Int64[Tensor, " micro_batch"]
    random_state: RandomState


class TwoPasses:
    """The two passes of an encoder over the same items.

    NOTE [ Replay by groups ]
    Random numbers are drawn per encoder call, so an item meets the same dropout mask again only in
    the same micro-batch. Strategies that do not look at features therefore draw their subset first,
    and `encode` runs the sampled items in micro-batches of their own: `gradients` repeats exactly
    those. A subset that is known only afterwards is regrouped if the first pass drew no random
    number (then grouping changes nothing but rounding); otherwise every micro-batch that holds a
    sampled item is repeated whole, with zero gradients for the others in it.

    Args:
        encoder: Maps a micro-batch of items to their features.
        call: The items.
        micro_batch_size: Items per call that keeps a graph.
        couples_items: Whether items are known to depend on their micro-batch, as with BatchNorm in
            training mode: then micro-batches are repeated whole, as for random numbers.
    """

    def __init__(
        self, encoder: nn.Module, call: ItemCall, *, micro_batch_size: int, couples_items: bool
    ) -> None:
        self._encoder = encoder
        self.call = call
        self._micro_batch_size = micro_batch_size
        self._repeat_whole = couples_items
        self._micro_batches: list[MicroBatch] = []
        self._trainable = [p for p in encoder.parameters() if p.requires_grad]
        self._devices = involved_devices(encoder, call.item_tensors)
        self._autocast = Autocast.capture(self._devices)
        self._witness = Witness(encoder, call.tensors)
        self.inputs = [*self._trainable, *(t for t in call.tensors if call.needs_gradient(t))]

    def encode(self, groups: Iterable[Tensor], *, replayable: bool = True) -> FeatureBuffer:
        """Encode all items without a graph, micro-batch by micro-batch (stage 1, Eq. 1).

        Args:
            groups: The items of each micro-batch.
            replayable: Whether `gradients` will follow.

        Raises:
            RuntimeError: If the pass cannot be replayed, since the encoder changed its buffers.
        """
        features = FeatureBuffer(self.call.lead_shape)
        state = RandomState.capture(self._devices)
        with torch.no_grad(), fast_path_disabled() if replayable else nullcontext():
            for index in groups:
                args, kwargs, _ = self.call.take(index)
                features.write(index, self._encoder(*args, **kwargs))
                self._micro_batches.append(MicroBatch(index, state))
                after = RandomState.capture(self._devices)
                if not after.equals(state):
                    # Kept only if it changed: one copy then serves all micro-batches.
                    state = after
                    self._repeat_whole = True
        if replayable:
            self._witness.check_first_pass(allowed=batch_norm_buffers(self._encoder))
        return features

    def gradients(
        self, subset: Subset, feature_gradients: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """Re-encode the subset and back-propagate through it (stage 3, Eq. 4).

        Args:
            subset: The items whose feature gradients are used, and their weights.
            feature_gradients: One per leaf of the features, one row per item; None where the loss
                does not depend on the leaf.

        Returns:
            The gradient of each of `inputs`; None where naive back-propagation leaves None.

        Raises:
            RuntimeError: If the encoder or the items changed since `encode`, or a micro-batch
                larger than `micro_batch_size` would have to be repeated.
        """
        self._witness.check_second_pass()
        groups = self._groups(subset)
        needs = self.call.needs_gradient
        shared = [t.detach().requires_grad_(needs(t)) for t in self.call.shared_tensors]
        items = [torch.zeros_like(t) if needs(t) else None for t in self.call.item_tensors]
        with (
            aliased_parameters(self._encoder, self._trainable) as aliases,
            _unchanged(batch_norm_buffers(self._encoder)),
        ):
            for group in groups:
                cuts = self._backward(group, subset, feature_gradients, shared)
                self._scatter(items, group.index, cuts)
            gradients = [aliases[id(parameter)].grad for parameter in self._trainable]
        gradients += [gradient for gradient in items if gradient is not None]
        gradients += [tensor.grad for tensor in shared if tensor.requires_grad]
        return gradients

    def _groups(self, subset: Subset) -> list[MicroBatch]:
        positions = subset.positions
        if not self._repeat_whole:
            state = self._micro_batches[0].random_state
            return [MicroBatch(i, state) for i in positions.split(self._micro_batch_size)]
        sampled = torch.zeros(self.call.num_items, dtype=torch.bool)
        sampled[positions] = True
        groups = [m for m in self._micro_batches if bool(sampled[m.index].any())]
        largest = max(len(group.index) for group in groups)
        if largest > self._micro_batch_size:
            raise RuntimeError(
                f"the encoder drew random numbers in micro-batches of {largest} item(s), more than "
                f"micro_batch_size={self._micro_batch_size}; they would have to be repeated whole, "
                "since the subset was not known before. Leave forward_micro_batch_size at None, "
                "switch dropout off, or use a strategy that does not look at features."
            )
        return groups

    def _backward(
        self,
        group: MicroBatch,
        subset: Subset,
        feature_gradients: Sequence[Tensor | None],
        shared: Sequence[Tensor],
    ) -> list[Tensor]:
        with torch.enable_grad(), self._autocast.restored(), group.random_state.restored():
            args, kwargs, cuts = self.call.take(group.index, shared=shared)
            outputs = pytree.tree_leaves(self._encoder(*args, **kwargs))
        back_propagate(
            (output, _weighted(gradient, group.index, subset.weight))
            for output, gradient in zip(outputs, feature_gradients, strict=True)
            if gradient is not None and output.requires_grad
        )
        return cuts

    def _scatter(
        self, items: Sequence[Tensor | None], index: Tensor, cuts: Sequence[Tensor]
    ) -> None:
        for gradient, cut in zip(items, cuts, strict=True):
            if gradient is not None and cut.grad is not None:
                gradient[self.call.position(index, gradient.device)] = cut.grad


def back_propagate(gradients: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Accumulate gradients into the leaves of all tensors' graphs, in one backward pass."""
    pairs = list(gradients)
    if pairs:
        torch.autograd.backward([t for t, _ in pairs], [g for _, g in pairs])


def _weighted(gradient: Tensor, index: Tensor, weight: Tensor | None) -> Tensor:
    rows = gradient[index.to(gradient.device)]
    if weight is None:
        return rows
    # Half precision would round the product before it is used; zeros must also hide inf and NaN.
    wide = torch.promote_types(rows.dtype, torch.float32)
    factor = weight[index].to(rows.device, wide).view(-1, *[1] * (rows.ndim - 1))
    return torch.where(factor == 0, 0, rows.to(wide) * factor).to(rows.dtype)


@contextmanager
def _unchanged(buffers: Sequence[Tensor]) -> Iterator[None]:
    """Put the buffers' values back: the first pass has updated them already."""
    values = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)
