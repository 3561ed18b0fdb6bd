"""The three stages of sequentialized gradient sampling (paper section 3.3, Alg. 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sgs.back_propagation import back_propagate_rows
from sgs.distributed import fewest_calls, missing_calls
from sgs.encoder_calls import EncoderCalls, Graph, Group, MicroBatch
from sgs.gradients.arguments import ItemGradients
from sgs.gradients.parameters import CalledParameters
from sgs.items.arguments import ItemCall
from sgs.items.features import FeatureBuffer
from sgs.items.frozen_stem import Front
from sgs.micro_batches import repeats_of
from sgs.replay.circumstances import World
from sgs.replay.feature_check import ReplayCheck
from sgs.subset import Subset

FIRST_PASS, SECOND_PASS = "first pass", "second pass"


class TwoPasses:
    """The two passes of an encoder over the same items.

    Args:
        encoder: Maps a micro-batch of items to their features.
        call: The items.
        front: What runs before the encoder.
        micro_batch_size: Items per call that keeps a graph.
        couples_items: Whether items are known to depend on their micro-batch, as with BatchNorm in
            training mode: then micro-batches are repeated whole, as for random numbers.
        timed: Entered around either pass with its name, `micro_batch_size` and the number of items.
    """

    def __init__(
        self,
        encoder: nn.Module,
        call: ItemCall,
        front: Front,
        *,
        micro_batch_size: int,
        couples_items: bool,
        timed: Callable[[str, int, int], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.call = call
        self._micro_batch_size = micro_batch_size
        self._couples_items = couples_items
        self._timed = timed or (lambda *_: nullcontext())
        self._micro_batches: list[MicroBatch] = []
        self._parameters = CalledParameters(encoder)
        self._world = World(front.before(encoder), self._parameters, call)
        self._found = ItemGradients(call)
        self._calls = EncoderCalls(
            encoder,
            call,
            front,
            parameters=self._parameters,
            world=self._world,
            shared=self._found.shared,
        )
        self._check: ReplayCheck | None = None
        self.inputs = [*self._parameters.trainable, *call.tensors]

    def encode(self, groups: Sequence[Group], *, num_kept: int = 0) -> FeatureBuffer:
        """Encode all items, micro-batch by micro-batch (stage 1, Eq. 1).

        Args:
            groups: The items of each micro-batch.
            num_kept: How many micro-batches of those that would be repeated keep their graph
                instead. The others run without one.

        Raises:
            RuntimeError: If the pass cannot be replayed, since the encoder changed its parameters,
                or its buffers in another way for each micro-batch; or a source failed.
        """
        features = FeatureBuffer(self.call.lead_shape)
        absent = missing_calls(self._parameters.trainable, len(groups))
        repeating = [number for number, group in enumerate(groups) if group.repeats]
        num_kept = fewest_calls(self._parameters.trainable, min(num_kept, len(repeating)))
        kept = set(repeating[:num_kept])
        fetches = self.call.prefetched([group.index for group in groups])
        watched = self._timed(FIRST_PASS, self._micro_batch_size, self.call.num_items)
        with watched, torch.no_grad(), self._world.first_pass(), closing(fetches):
            for number, (group, fetched) in enumerate(zip(groups, fetches, strict=True)):
                micro_batch, outputs = self._calls.first(group, fetched, keeps_graph=number in kept)
                self._micro_batches.append(micro_batch)
                features.write(group.index, outputs)
            for _ in range(absent):
                self._calls.again(self._micro_batches[repeating[0]])
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
        rows = [None if g is None else self.call.rows(g) for g in feature_gradients]
        with ExitStack() as stack:
            num_items = len(subset.positions)
            stack.enter_context(self._timed(SECOND_PASS, self._micro_batch_size, num_items))
            stack.enter_context(torch.enable_grad())
            aliases = stack.enter_context(self._parameters.aliased())
            stack.enter_context(self._world.second_pass())
            self._restart()
            groups, weights = self._pace(self._repeats(subset), subset.weight)
            fetches = self._calls.prefetched([group for group in groups if group.graph is None])
            stack.enter_context(closing(fetches))
            for number, (group, weight) in enumerate(zip(groups, weights, strict=True)):
                graph = group.take_graph() or self._repeated(group, next(fetches))
                if number == 0:
                    self._calls.refuse_other_leaves(graph, aliases)
                back_propagate_rows(graph.outputs, rows, group.index, weight)
                self._found.add(group.index, graph.cuts)
                # Or its items would be there while the next ones are taken.
                del graph
            self._verify()
        return [*self._parameters.gradients(), *self._found.take()]

    def _restart(self) -> None:
        """Forget what a backward that failed has left behind."""
        self._parameters.restart()
        self._found.restart()
        if self._check is not None:
            self._check.restart()

    def _repeated(self, group: MicroBatch, fetched: Sequence[Any]) -> Graph:
        graph = self._calls.again(group, fetched)
        if self._check is not None:
            self._check.add(group, graph.outputs)
        return graph

    def _repeats(self, subset: Subset) -> list[MicroBatch]:
        return repeats_of(
            self._micro_batches,
            subset.positions,
            num_items=self.call.num_items,
            size=self._micro_batch_size,
            couples_items=self._couples_items,
            uses_all_kept=self._parameters.are_sharded,
        )

    def _pace(
        self, groups: list[MicroBatch], weight: Tensor | None
    ) -> tuple[list[MicroBatch], list[Tensor | None]]:
        """Append calls without effect, where other processes make more of them."""
        absent = missing_calls(self._parameters.trainable, len(groups))
        nothing = torch.zeros(self.call.num_items, dtype=torch.float64, device="cpu")
        last = replace(groups[-1], graph=None)
        return groups + [last] * absent, [weight] * len(groups) + [nothing] * absent

    def _verify(self) -> None:
        def again(group: MicroBatch) -> list[Any]:
            with torch.no_grad():
                return self._calls.again(group).outputs

        if self._check is not None:
            # The calls of a sharded encoder involve other processes, which need not see an error.
            self._check.verify(None if self._parameters.are_sharded else again)
