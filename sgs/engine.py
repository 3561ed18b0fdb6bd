"""The two passes of sequentialized gradient sampling (paper section 3.3, Alg. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sgs.encoder_calls import EncoderCalls
from sgs.gradients.graph import back_propagate_rows, saved_tensors_explained
from sgs.items.features import FeatureBuffer
from sgs.micro_batches import EncodedMicroBatch, MicroBatch, repeats_of
from sgs.replay.feature_check import FeatureCheck
from sgs.subset import Subset


class TwoPasses:
    """The two passes of an encoder over the same items.

    Args:
        calls: The calls of the encoder.
        micro_batch_size: Items per call with a graph.
        couples_items: Whether BatchNorm layers in training mode couple the items of a micro-batch.
            Micro-batches are then repeated whole, as for random numbers.
        check_replay: The option of `SequentialGradientSampler`.
    """

    def __init__(
        self,
        calls: EncoderCalls,
        *,
        micro_batch_size: int,
        couples_items: bool,
        check_replay: bool | float,
    ) -> None:
        self._calls = calls
        self._micro_batch_size = micro_batch_size
        self._couples_items = couples_items
        self._check_replay = check_replay
        self._check: FeatureCheck | None = None

    def encode(self, micro_batches: Sequence[MicroBatch], *, num_kept: int = 0) -> FeatureBuffer:
        """Encode all items, micro-batch by micro-batch (stage 1, Eq. 1).

        Args:
            micro_batches: All items, divided into micro-batches.
            num_kept: The number of micro-batches whose graph is kept, among those that may repeat.

        Raises:
            RuntimeError: If the encoder changed its parameters, or its buffers differently in each
                micro-batch, so that the pass cannot be replayed; or if a source failed.
        """
        features = FeatureBuffer(self._calls.items.lead_shape)
        with self._calls.first_pass(micro_batches, num_kept=num_kept):
            for micro_batch in micro_batches:
                features.write(micro_batch.index, self._calls.first(micro_batch))
        return features

    def remember(self, features: FeatureBuffer, index: Tensor) -> None:
        """Keep the features of the items at `index`, to be compared in `gradients`."""
        tolerance = self._check_replay
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
            The gradient of each of the calls' `inputs`. None where naive back-propagation leaves
            None, and for sharded parameters, whose `.grad` is already set.

        Raises:
            RuntimeError: If the encoder or the items changed since `encode`, the features differ,
                they depend on parameters outside the encoder, or a micro-batch larger than
                `micro_batch_size` would have to be repeated.
        """
        rows = [None if g is None else self._calls.items.rows(g) for g in feature_gradients]
        micro_batches = self._repeats(subset)
        compared: list[tuple[EncodedMicroBatch, Tensor]] = []
        with self._calls.second_pass(micro_batches):
            for micro_batch in micro_batches:
                kept = micro_batch.take_graph()
                graph = kept or self._calls.repeat(micro_batch)
                if self._check is not None and kept is None:
                    difference = self._check.difference(micro_batch.index, graph.outputs)
                    compared.append((micro_batch, difference))
                with saved_tensors_explained(is_kept=kept is not None):
                    back_propagate_rows(graph.outputs, rows, micro_batch.index, subset.weight)
                self._calls.add_gradients(micro_batch, graph)
                # Free this micro-batch before the next one is loaded: else two are alive at once.
                del kept, graph
            self._calls.keep_pace(micro_batches[-1])
            if self._check is not None:
                # Calls of a sharded encoder wait for the other processes, which may see no error.
                replay = None if self._calls.are_sharded else self._replayed_outputs
                self._check.verify(compared, replay=replay)
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

    def _replayed_outputs(self, micro_batch: EncodedMicroBatch) -> list[Any]:
        with torch.no_grad():
            return self._calls.replay(micro_batch).outputs
