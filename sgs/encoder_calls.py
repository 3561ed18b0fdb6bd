"""The calls of the encoder that the two passes consist of."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sgs.gradients.graph import refuse_other_leaves
from sgs.gradients.parameters import CalledParameters
from sgs.items.arguments import ItemCall
from sgs.items.frozen_stem import Front
from sgs.items.stem_cache import StemCache
from sgs.replay.circumstances import World
from sgs.replay.random_numbers import RandomState


@dataclass(frozen=True)
class Group:
    """The items of one call of the first pass.

    Attributes:
        index: Their positions.
        repeats: Whether the second pass may encode them again.
    """

    index: Int64[Tensor, " micro_batch"]
    repeats: bool


@dataclass(frozen=True)
class Graph:
    """What one call has computed, ready to be back-propagated through.

    Attributes:
        outputs: The leaves of its outputs.
        cuts: The tensors of the items that they came from.
    """

    outputs: list[Any]
    cuts: list[Tensor]


@dataclass
class MicroBatch:
    """One call of the first pass.

    Attributes:
        index: Its items.
        random_state: What it started from.
        drew: Whether it drew random numbers.
        graph: What it has computed, if it need not be repeated.
    """

    index: Int64[Tensor, " micro_batch"]
    random_state: RandomState
    drew: bool = False
    graph: Graph | None = None

    def take_graph(self) -> Graph | None:
        """Return the graph, which can be back-propagated through once."""
        graph, self.graph = self.graph, None
        return graph


class EncoderCalls:
    """Calls an encoder for the first time, and again under the same circumstances.

    Args:
        encoder: Maps a micro-batch of items to their features.
        call: The items.
        front: What runs before the encoder.
        parameters: The encoder's parameters.
        world: The circumstances.
        shared: What stands for the call's shared tensors where gradients are wanted.
    """

    def __init__(
        self,
        encoder: nn.Module,
        call: ItemCall,
        front: Front,
        *,
        parameters: CalledParameters,
        world: World,
        shared: Sequence[Tensor],
    ) -> None:
        self._encoder = encoder
        self._call = call
        self._front = front
        self._parameters = parameters
        self._world = world
        self._shared = shared
        self._idle: RandomState | None = None
        self._stem = (
            StemCache(call.num_items, device=front.cache_device) if front.frozen_stem else None
        )

    def first(
        self, group: Group, fetched: Sequence[Any], *, keeps_graph: bool
    ) -> tuple[MicroBatch, Any]:
        """Encode some items in the first pass.

        Returns:
            The micro-batch, and the outputs of the encoder.
        """
        with ExitStack() as stack:
            aliases: Sequence[Tensor | None] = []
            if keeps_graph:
                stack.enter_context(torch.enable_grad())
                aliases = stack.enter_context(self._parameters.aliased())
            shared = self._shared if keeps_graph else None
            args, kwargs, cuts = self._call.take(group.index, fetched=fetched, shared=shared)
            stack.enter_context(self._world.first_call())
            before, idle = self._world.random_state(), self._idle
            args, kwargs = self._front(args, kwargs)
            if self._stem is not None:
                if group.repeats:
                    self._stem.add(group.index, args[0])
                # The second pass begins behind the stem, and behind the random numbers it drew.
                idle = None if before.without_undrawn()[1] else idle
                before = self._world.random_state()
            outputs = self._encoder(*args, **kwargs)
            state, drew = before.without_undrawn()
        # One copy serves micro-batches in a row that draw nothing.
        state = state if drew else idle or state
        self._idle = None if drew else state
        graph = Graph(pytree.tree_leaves(outputs), cuts) if keeps_graph else None
        if graph is not None:
            self.refuse_other_leaves(graph, aliases)
        return MicroBatch(group.index, state, drew, graph), outputs

    def prefetched(self, micro_batches: Sequence[MicroBatch]) -> Generator[list[Any]]:
        """Yield what the sources fetch for micro-batches that will be repeated."""
        if self._stem is not None:
            return ([] for _ in micro_batches)
        return self._call.prefetched([m.index for m in micro_batches])

    def again(self, micro_batch: MicroBatch, fetched: Sequence[Any] | None = None) -> Graph:
        """Repeat a call of the first pass, with a graph where gradients are enabled."""
        index = micro_batch.index
        cuts: list[Tensor] = []
        if self._stem is None:
            args, kwargs, cuts = self._call.take(index, fetched=fetched, shared=self._shared)
        else:
            args, kwargs = (self._stem.take(index),), {}
        with self._world.same_call(micro_batch.random_state):
            if self._stem is None:
                args, kwargs = self._front(args, kwargs)
            return Graph(pytree.tree_leaves(self._encoder(*args, **kwargs)), cuts)

    def refuse_other_leaves(self, graph: Graph, aliases: Sequence[Tensor | None]) -> None:
        """Refuse a graph that ends in parameters which are not the encoder's.

        Raises:
            RuntimeError: If it does.
        """
        if not self._parameters.are_sharded:
            refuse_other_leaves(graph.outputs, known=[*aliases, *self._shared, *graph.cuts])
