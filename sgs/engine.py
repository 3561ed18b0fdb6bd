"""The two passes of sequentialized gradient sampling (paper section 3.3, Alg. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sgs.encoder_calls import EncoderCalls
from sgs.gradients.graph import Graph, back_propagate_rows, saved_tensors_explained
from sgs.items.features import FeatureBuffer
from sgs.micro_batches import EncodedMicroBatch, MicroBatch, repeats_of
from sgs.replay.feature_check import FeatureCheck
from sgs.subset import Subset


class TwoPasses:
    """The two passes of an encoder over the same items.

    Args:
        calls: Call the encoder.
        micro_batch_size: Items per call that keeps a graph.
        couples_items: Whether items are known to depend on their micro-batch, as with BatchNorm in
            training mode: then micro-batches are repeated whole, as for random numbers.
    """

    def __init__(self, calls: EncoderCalls, *, micro_batch_size: int, couples_items: bool) -> None:
        self._calls = calls
        self._micro_batch_size = micro_batch_size
        self._couples_items = couples_items
        self._check: FeatureCheck | None = None

    def encode(self, micro_batches: Sequence[MicroBatch], *, num_kept: int = 0) -> FeatureBuffer:
        """Encode all items, micro-batch by micro-batch (stage 1, Eq. 1).

        Args:
            micro_batches: Their items.
            num_kept: How many micro-batches of those that may repeat keep their graph. The others
                run without one.

        Raises:
            RuntimeError: If the pass cannot be replayed, since the encoder changed its parameters,
                or its buffers differently in each micro-batch; or a source failed.
        """
        features = FeatureBuffer(self._calls.items.lead_shape)
        with self._calls.first_pass(micro_batches, num_kept=num_kept):
            for micro_batch in micro_batches:
                features.write(micro_batch.index, self._calls.first(micro_batch))
        return features

    def compare(self, features: FeatureBuffer, index: Tensor, *, tolerance: float | bool) -> None:
        """Let `gradients` compare the features of some items with those of the first pass."""
        if tolerance is not False:
            self._check = FeatureCheck(
                [features.rows(x) if isinstance(x, Tensor) else x for x in features.leaves],
                index,
                num_items=self._calls.items.num_items,
                tolerance=None if tolerance is True else tolerance,
                dtypes=self._calls.circumstances.dtypes,
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
            The gradient of each of the calls' `inputs`; None where naive back-propagation leaves
            None, and for sharded parameters, which have received theirs.

        Raises:
            RuntimeError: If the encoder or the items changed since `encode`, the features come out
                differently, they depend on tensors that are no parameters or arguments, or a
                micro-batch larger than `micro_batch_size` would have to be repeated.
        """
        rows = [None if g is None else self._calls.items.rows(g) for g in feature_gradients]
        micro_batches = self._repeats(subset)
        with self._calls.second_pass(micro_batches):
            if self._check is not None:
                self._check.restart()
            for micro_batch in micro_batches:
                kept = micro_batch.take_graph()
                graph = kept or self._repeated(micro_batch)
                with saved_tensors_explained(is_kept=kept is not None):
                    back_propagate_rows(graph.outputs, rows, micro_batch.index, subset.weight)
                self._calls.add_gradients(micro_batch, graph)
                # Free this micro-batch before the next one is loaded: else two are alive at once.
                del kept, graph
            if self._check is not None:
                # The calls of a sharded encoder involve other processes, which may see no error.
                self._check.verify(may_repeat=not self._calls.are_sharded)
        return self._calls.gradients()

    def _repeats(self, subset: Subset) -> list[EncodedMicroBatch]:
        return repeats_of(
            self._calls.encoded,
            subset.positions,
            num_items=self._calls.items.num_items,
            size=self._micro_batch_size,
            couples_items=self._couples_items,
            uses_all_kept=self._calls.are_sharded,
        )

    def _repeated(self, micro_batch: EncodedMicroBatch) -> Graph:
        graph = self._calls.repeat(micro_batch)
        if self._check is not None:
            again = partial(self._outputs_again, micro_batch)
            self._check.add(micro_batch.index, graph.outputs, again=again)
        return graph

    def _outputs_again(self, micro_batch: EncodedMicroBatch) -> list[Any]:
        with torch.no_grad():
            return self._calls.again(micro_batch).outputs
