"""The three stages of sequentialized gradient sampling (paper section 3.3, Alg. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sgs.back_propagation import back_propagate_rows
from sgs.check import ReplayCheck
from sgs.distributed import missing_calls
from sgs.features import FeatureBuffer
from sgs.graph import refuse_other_leaves
from sgs.item_gradients import ItemGradients
from sgs.items import ItemCall
from sgs.parameters import CalledParameters
from sgs.random_state import RandomState
from sgs.subset import Subset
from sgs.world import World


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
        self._parameters = CalledParameters(encoder)
        self._world = World(encoder, self._parameters, call)
        self._check: ReplayCheck | None = None
        self.inputs = [*self._parameters.trainable, *call.tensors]

    def encode(self, groups: Sequence[Tensor]) -> FeatureBuffer:
        """Encode all items without a graph, micro-batch by micro-batch (stage 1, Eq. 1).

        Args:
            groups: The items of each micro-batch.

        Raises:
            RuntimeError: If the pass cannot be replayed, since the encoder changed its parameters,
                or its buffers in another way for each micro-batch.
        """
        features = FeatureBuffer(self.call.lead_shape)
        absent = missing_calls(self._parameters.trainable, len(groups))
        idle: RandomState | None = None
        with torch.no_grad(), self._world.first_pass():
            for index in groups:
                args, kwargs, _ = self.call.take(index)
                with self._world.first_call():
                    before = self._world.random_state()
                    outputs = self._encoder(*args, **kwargs)
                    state, drew = before.without_undrawn()
                # One copy serves micro-batches in a row that draw nothing.
                idle = None if drew else idle or state
                self._micro_batches.append(MicroBatch(index, idle or state))
                self._repeat_whole |= drew
                features.write(index, outputs)
            for _ in range(absent):
                self._forward(self._micro_batches[-1])
        return features

    def compare(self, features: FeatureBuffer, index: Tensor, *, tolerance: float | bool) -> None:
        """Let `gradients` compare the features of some items with those of the first pass."""
        if tolerance is False:
            return
        self._check = ReplayCheck(
            [features.rows(x) if isinstance(x, Tensor) else x for x in features.leaves],
            index,
            num_items=self.call.num_items,
            tolerance=None if tolerance is True else tolerance,
            dtypes=self._world.dtypes,
        )

    def gradients(
        self, subset: Subset, feature_gradients: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """Re-encode the subset and back-propagate through it (stage 3, Eq. 4).

        Args:
            subset: The items whose feature gradients are used, and their weights.
            feature_gradients: One per leaf of the features, of its shape; None where the loss does
                not depend on the leaf.

        Returns:
            The gradient of each of `inputs`; None where naive back-propagation leaves None, and for
            sharded parameters, which have received theirs.

        Raises:
            RuntimeError: If the encoder or the items changed since `encode`, the features come out
                differently, they depend on tensors that are no parameters or arguments, or a
                micro-batch larger than `micro_batch_size` would have to be repeated.
        """
        found = ItemGradients(self.call)
        rows = [None if g is None else self.call.rows(g) for g in feature_gradients]
        with (
            torch.enable_grad(),
            self._parameters.aliased() as aliases,
            self._world.second_pass(),
        ):
            sums = self._parameters.sums(aliases)
            groups, weights = self._pace(self._groups(subset), subset.weight)
            if self._check is not None:
                self._check.restart()
            for number, (group, weight) in enumerate(zip(groups, weights, strict=True)):
                outputs, cuts = self._forward(group, shared=found.shared)
                if number == 0 and not self._parameters.are_sharded:
                    refuse_other_leaves(outputs, known=[*aliases, *found.shared, *cuts])
                if self._check is not None:
                    self._check.add(group.index, outputs)
                back_propagate_rows(outputs, rows, group.index, weight)
                found.add(group.index, cuts)
            self._verify(groups)
        return [*self._parameters.gradients(sums), *found.result()]

    def _groups(self, subset: Subset) -> list[MicroBatch]:
        if not self._repeat_whole:
            state = self._micro_batches[0].random_state
            parts = subset.positions.split(self._micro_batch_size)
            return [MicroBatch(index, state) for index in parts]
        sampled = torch.zeros(self.call.num_items, dtype=torch.bool, device="cpu")
        sampled[subset.positions] = True
        # Without items there is one call, on none.
        groups = [m for m in self._micro_batches if len(m.index) == 0 or sampled[m.index].any()]
        largest = max(len(group.index) for group in groups)
        if largest > self._micro_batch_size:
            raise RuntimeError(
                f"the encoder drew random numbers in micro-batches of {largest} item(s), more than "
                f"micro_batch_size={self._micro_batch_size}; they would have to be repeated whole, "
                "since the subset was not known before. Leave forward_micro_batch_size at None, "
                "switch dropout off, or use a strategy that does not look at features."
            )
        return groups

    def _pace(
        self, groups: list[MicroBatch], weight: Tensor | None
    ) -> tuple[list[MicroBatch], list[Tensor | None]]:
        """Append calls without effect, where other processes make more of them."""
        absent = missing_calls(self._parameters.trainable, len(groups))
        nothing = torch.zeros(self.call.num_items, dtype=torch.float64, device="cpu")
        return groups + groups[-1:] * absent, [weight] * len(groups) + [nothing] * absent

    def _forward(
        self, group: MicroBatch, *, shared: Sequence[Tensor] | None = None
    ) -> tuple[list[Any], list[Tensor]]:
        args, kwargs, cuts = self.call.take(group.index, shared=shared)
        with self._world.same_call(group.random_state):
            return pytree.tree_leaves(self._encoder(*args, **kwargs)), cuts

    def _verify(self, groups: Sequence[MicroBatch]) -> None:
        def again(position: int) -> list[Any]:
            with torch.no_grad():
                return self._forward(groups[position])[0]

        if self._check is not None:
            # The calls of a sharded encoder involve other processes, which need not see an error.
            self._check.verify(None if self._parameters.are_sharded else again)
