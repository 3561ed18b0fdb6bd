"""The encoder calls of both passes, one per micro-batch."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sgs.call_history import CallHistory
from sgs.distributed import fewest_calls, missing_calls
from sgs.gradients.arguments import ArgumentGradients
from sgs.gradients.graph import Graph, back_propagate, refuse_other_leaves
from sgs.gradients.parameters import CalledParameters
from sgs.items.arguments import CallArguments
from sgs.items.error_notes import call_noted
from sgs.items.frozen_stem import FrozenStem, run_stem, with_stem
from sgs.items.stem_cache import StemCache
from sgs.micro_batches import EncodedMicroBatch, MicroBatch
from sgs.replay.circumstances import Circumstances
from sgs.replay.random_numbers import RandomStates
from sgs.trials import Trials


class EncoderCalls:
    """Calls an encoder on micro-batches, and replays these calls in the second pass.

    Args:
        encoder: Maps a micro-batch of items to their features.
        items: The arguments of the user's call.
        stem: The frozen layers in front of the encoder, if any.
        history: What the sampler remembers of its calls.
        checks_items: Whether an encoder whose items interact is refused.

    Attributes:
        items: The arguments of the user's call.
        circumstances: The state that must be the same in both passes.
        encoded: The micro-batches encoded by the first pass so far.
    """

    def __init__(
        self,
        encoder: nn.Module,
        items: CallArguments,
        stem: FrozenStem | None,
        history: CallHistory,
        *,
        checks_items: bool,
    ) -> None:
        self.items = items
        self._encoder, self._stem = encoder, stem
        device = None if stem is None else stem.cache_device
        self._cache = StemCache(items.num_items, device=device)
        self._parameters = CalledParameters(encoder)
        self._gradients = ArgumentGradients(items)
        watched, named = with_stem(encoder, stem), self._parameters.by_name
        self.circumstances = Circumstances(watched, named, items.tensors)
        self.encoded, self._kept = list[EncodedMicroBatch](), set[MicroBatch]()
        self._fetches: Generator[list[Any]] = items.prefetched([])
        self._aliases: Sequence[Tensor | None] = []
        self._num_missing = 0
        options = self.circumstances, not self.are_sharded, checks_items
        self._trials = Trials(encoder, items, stem, history, *options)
        self._states, self._are_leaves_checked = RandomStates(), False

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors whose gradients `gradients` returns."""
        return [*self._parameters.trainable, *self.items.tensors]

    @property
    def are_sharded(self) -> bool:
        """Whether parameters are sharded, so that all processes must make the same calls."""
        return self._parameters.are_sharded

    @contextmanager
    def first_pass(self, micro_batches: Sequence[MicroBatch], *, num_kept: int) -> Iterator[None]:
        """Set up the first pass; inside, call `first` on each micro-batch in order.

        Args:
            micro_batches: The micro-batches of the pass.
            num_kept: The number of micro-batches whose graph is kept, among those that may repeat.
        """
        self._num_missing = missing_calls(self._parameters.trainable, len(micro_batches))
        repeating = [m for m in micro_batches if m.may_repeat]
        num_kept = fewest_calls(self._parameters.trainable, min(num_kept, len(repeating)))
        self._kept = set(repeating[:num_kept])
        self._fetches = self.items.prefetched([m.index for m in micro_batches])
        self._trials.begin(micro_batches)
        with torch.no_grad(), self.circumstances.first_pass(), closing(self._fetches):
            yield
            self.keep_pace(self.encoded[micro_batches.index(repeating[0])])

    def first(self, micro_batch: MicroBatch) -> Any:
        """Encode the next micro-batch of the first pass, and return the encoder's outputs."""
        index, keeps_graph = micro_batch.index, micro_batch in self._kept
        spare = self._trials.spare(fetched := next(self._fetches))
        with ExitStack() as stack:
            if keeps_graph:
                stack.enter_context(torch.enable_grad())
                self._aliases = stack.enter_context(self._parameters.aliased())
            shared = self._gradients.shared if keeps_graph else None
            args, kwargs, cuts = self.items.take(index, fetched=fetched, shared=shared)
            self.circumstances.modules.rewind()
            start = before = self.circumstances.random_state()
            if self._stem is not None:
                stem = self._stem, args, kwargs
                args, kwargs = call_noted(run_stem, self.items, index, stem, {})
                if micro_batch.may_repeat:
                    self._cache.add(index, args[0])
                # The second pass starts after the stem, so record the state after its draws.
                self._states.after_call(before)
                before = self.circumstances.random_state()
            outputs = call_noted(self._encoder, self.items, index, args, kwargs)
            self._parameters.refuse_hooks()
            state, drew = self._states.after_call(before)
            outputs = self._trials.spare(outputs)
            leaves = pytree.tree_leaves(outputs)
            if self._trials.differs(index, spare, start, leaves):
                self._drop_graphs()
        graph = Graph(leaves, cuts) if micro_batch in self._kept else None
        if graph:
            self._refuse_other_leaves(graph)
        self.encoded.append(EncodedMicroBatch(index, state, drew, graph))
        return outputs

    def _drop_graphs(self) -> None:
        """Keep no graph: its backward would read state that a later micro-batch has left."""
        if not self.are_sharded:  # all processes must make the same calls
            self._kept = set()
            for micro_batch in self.encoded:
                micro_batch.graph = None

    @contextmanager
    def second_pass(self, micro_batches: Sequence[EncodedMicroBatch]) -> Iterator[None]:
        """Set up the second pass; inside, call `repeat` on each micro-batch without a kept graph.

        Raises:
            RuntimeError: If something changed since the first pass and cannot be restored.
        """
        repeated = [m.index for m in micro_batches if m.graph is None]
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            self._aliases = stack.enter_context(self._parameters.aliased())
            stack.enter_context(self.circumstances.second_pass())
            # A failed backward may have left gradients behind.
            self._parameters.restart()
            self._gradients.restart()
            self._are_leaves_checked = False
            self._num_missing = missing_calls(self._parameters.trainable, len(micro_batches))
            self._fetches = self.items.prefetched([] if self._stem else repeated)
            stack.enter_context(closing(self._fetches))
            yield

    def repeat(self, micro_batch: EncodedMicroBatch) -> Graph:
        """Encode the next micro-batch of the second pass, with its graph."""
        graph = self.replay(micro_batch, [] if self._stem else next(self._fetches))
        if not self._are_leaves_checked:
            self._refuse_other_leaves(graph)
            self._parameters.refuse_hooks()
            self._are_leaves_checked = True
        return graph

    def replay(self, micro_batch: EncodedMicroBatch, fetched: Sequence[Any] | None = None) -> Graph:
        """Encode a micro-batch as in the first pass, with a graph where gradients are enabled."""
        index, cuts = micro_batch.index, list[Tensor]()
        if self._stem is None:
            shared = self._gradients.shared
            args, kwargs, cuts = self.items.take(index, fetched=fetched, shared=shared)
        else:
            args, kwargs = (self._cache.take(index),), {}
        with self.circumstances.replayed_call(micro_batch.random_state):
            outputs = call_noted(self._encoder, self.items, index, args, kwargs)
            return Graph(pytree.tree_leaves(outputs), cuts)

    def keep_pace(self, micro_batch: EncodedMicroBatch) -> None:
        """Repeat a micro-batch with zero gradients, as often as other processes make more calls."""
        for _ in range(self._num_missing):
            outputs = [x for x in self.replay(micro_batch).outputs if _is_trained(x)]
            back_propagate((output, torch.zeros_like(output)) for output in outputs)

    def _refuse_other_leaves(self, graph: Graph) -> None:
        if not self.are_sharded:
            known = [*self._aliases, *self._gradients.shared, *graph.cuts]
            refuse_other_leaves(graph.outputs, known=known)

    def add_gradients(self, micro_batch: EncodedMicroBatch, graph: Graph) -> None:
        """Add the gradients of the items of a micro-batch, after its backward."""
        self._gradients.add(micro_batch.index, graph.cuts)

    def gradients(self) -> list[Tensor | None]:
        """Return the gradient of each of `inputs`, summed over the second pass."""
        return [*self._parameters.gradients(), *self._gradients.take()]


def _is_trained(output: Any) -> bool:
    return isinstance(output, Tensor) and output.requires_grad
