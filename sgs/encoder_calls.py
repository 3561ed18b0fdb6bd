"""The calls of the encoder that both passes consist of."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sgs.distributed import fewest_calls, missing_calls
from sgs.gradients.arguments import ArgumentGradients
from sgs.gradients.graph import Graph, back_propagate, refuse_other_leaves
from sgs.gradients.parameters import CalledParameters
from sgs.items.arguments import CallArguments
from sgs.items.error_notes import explained
from sgs.items.frozen_stem import FrozenStem, run_stem, with_stem
from sgs.items.stem_cache import StemCache
from sgs.micro_batches import EncodedMicroBatch, MicroBatch
from sgs.replay.circumstances import Circumstances
from sgs.replay.random_numbers import RandomState


class EncoderCalls:
    """Calls an encoder on micro-batches, and again under the circumstances of the first time.

    Args:
        encoder: Maps a micro-batch of items to their features.
        items: The arguments of the user's call.
        stem: Runs before the encoder, if there is one.

    Attributes:
        items: As given.
        circumstances: What both passes must find the same.
        encoded: The micro-batches of the first pass so far.
    """

    def __init__(self, encoder: nn.Module, items: CallArguments, stem: FrozenStem | None) -> None:
        self.items = items
        self._encoder = encoder
        self._stem = stem
        device = None if stem is None else stem.cache_device
        self._cache = StemCache(items.num_items, device=device)
        self._parameters = CalledParameters(encoder)
        self._gradients = ArgumentGradients(items)
        watched = with_stem(encoder, stem)
        self.circumstances = Circumstances(watched, self._parameters.by_name, items.tensors)
        self.encoded: list[EncodedMicroBatch] = []
        self._kept: set[MicroBatch] = set()
        self._fetches: Generator[list[Any]] = items.prefetched([])
        self._aliases: Sequence[Tensor | None] = []
        self._are_leaves_known = False
        # Of the micro-batch before, if it drew nothing.
        self._undrawn: RandomState | None = None

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors that `gradients` returns a gradient for."""
        return [*self._parameters.trainable, *self.items.tensors]

    @property
    def are_sharded(self) -> bool:
        """Whether all processes must make the same calls, to gather sharded parameters."""
        return self._parameters.are_sharded

    @contextmanager
    def first_pass(self, micro_batches: Sequence[MicroBatch], *, num_kept: int) -> Iterator[None]:
        """Call `first` inside on each of these micro-batches, in this order.

        Args:
            micro_batches: Those of the pass.
            num_kept: How many of those that may repeat keep their graph. The others run without.

        Raises:
            RuntimeError: If the encoder changed what cannot be replayed, or a source failed.
        """
        absent = missing_calls(self._parameters.trainable, len(micro_batches))
        repeating = [m for m in micro_batches if m.may_repeat]
        num_kept = fewest_calls(self._parameters.trainable, min(num_kept, len(repeating)))
        self._kept = set(repeating[:num_kept])
        self._fetches = self.items.prefetched([m.index for m in micro_batches])
        with torch.no_grad(), self.circumstances.first_pass(), closing(self._fetches):
            yield
            for _ in range(absent):
                self.again(self.encoded[micro_batches.index(repeating[0])])

    def first(self, micro_batch: MicroBatch) -> Any:
        """Encode the next micro-batch of the first pass, and return the encoder's outputs."""
        index, keeps_graph = micro_batch.index, micro_batch in self._kept
        fetched = next(self._fetches)
        with ExitStack() as stack:
            if keeps_graph:
                stack.enter_context(torch.enable_grad())
                self._aliases = stack.enter_context(self._parameters.aliased())
            shared = self._gradients.shared if keeps_graph else None
            args, kwargs, cuts = self.items.take(index, fetched=fetched, shared=shared)
            stack.enter_context(self.circumstances.first_call())
            before = self.circumstances.random_state()
            if self._stem is not None:
                args, kwargs = self._run_stem(self._stem, micro_batch, args, kwargs)
                # The second pass starts after the stem, so record the state after its draws.
                self._undrawn = None if before.without_undrawn()[1] else self._undrawn
                before = self.circumstances.random_state()
            outputs = self._call(index, args, kwargs)
            state, drew = before.without_undrawn()
        # One copy serves consecutive micro-batches that draw nothing.
        state = state if drew else self._undrawn or state
        self._undrawn = None if drew else state
        graph = Graph(pytree.tree_leaves(outputs), cuts) if keeps_graph else None
        if graph is not None:
            self._refuse_other_leaves(graph)
        self.encoded.append(EncodedMicroBatch(index, state, drew, graph))
        return outputs

    def _run_stem(
        self, stem: FrozenStem, micro_batch: MicroBatch, args: tuple[Any, ...], kwargs: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        with explained(self.items, micro_batch.index, args, kwargs):
            args, kwargs = run_stem(stem, args, kwargs)
        if micro_batch.may_repeat:
            self._cache.add(micro_batch.index, args[0])
        return args, kwargs

    def _call(self, index: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with explained(self.items, index, args, kwargs):
            return self._encoder(*args, **kwargs)

    @contextmanager
    def second_pass(self, micro_batches: Sequence[EncodedMicroBatch]) -> Iterator[None]:
        """Call `repeat` inside on each of these micro-batches without a graph, in this order.

        Raises:
            RuntimeError: If something has changed since the first pass that cannot be put back.
        """
        repeated = [m.index for m in micro_batches if m.graph is None]
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            self._aliases = stack.enter_context(self._parameters.aliased())
            stack.enter_context(self.circumstances.second_pass())
            # What a backward that failed has left.
            self._parameters.restart()
            self._gradients.restart()
            self._are_leaves_known = False
            absent = missing_calls(self._parameters.trainable, len(micro_batches))
            self._fetches = self.items.prefetched([] if self._stem else repeated)
            stack.enter_context(closing(self._fetches))
            yield
            for _ in range(absent):
                outputs = [x for x in self.again(micro_batches[-1]).outputs if _is_trained(x)]
                back_propagate((output, torch.zeros_like(output)) for output in outputs)

    def repeat(self, micro_batch: EncodedMicroBatch) -> Graph:
        """Encode the next micro-batch of the second pass that has no graph."""
        graph = self.again(micro_batch, [] if self._stem else next(self._fetches))
        if not self._are_leaves_known:
            self._refuse_other_leaves(graph)
            self._are_leaves_known = True
        return graph

    def again(self, micro_batch: EncodedMicroBatch, fetched: Sequence[Any] | None = None) -> Graph:
        """Encode a micro-batch as in the first pass, with a graph where gradients are enabled."""
        index, cuts = micro_batch.index, list[Tensor]()
        if self._stem is None:
            args, kwargs, cuts = self.items.take(
                index, fetched=fetched, shared=self._gradients.shared
            )
        else:
            args, kwargs = (self._cache.take(index),), {}
        with self.circumstances.same_call(micro_batch.random_state):
            return Graph(pytree.tree_leaves(self._call(index, args, kwargs)), cuts)

    def _refuse_other_leaves(self, graph: Graph) -> None:
        if not self.are_sharded:
            known = [*self._aliases, *self._gradients.shared, *graph.cuts]
            refuse_other_leaves(graph.outputs, known=known)

    def add_gradients(self, micro_batch: EncodedMicroBatch, graph: Graph) -> None:
        """Add what the backward of a micro-batch has left on its own part of the items."""
        self._gradients.add(micro_batch.index, graph.cuts)

    def gradients(self) -> list[Tensor | None]:
        """Return the gradient of each of `inputs` that the second pass has gathered."""
        return [*self._parameters.gradients(), *self._gradients.take()]


def _is_trained(output: Any) -> bool:
    return isinstance(output, Tensor) and output.requires_grad
