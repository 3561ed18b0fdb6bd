"""`StepCounter`: the bytes and operations of a training step on fake tensors."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.graph import register_multi_grad_hook
from torch.utils import _pytree as pytree

from sgs.items.features import is_differentiable
from sgs.planning.estimate.fake_tensors import DryRun
from sgs.planning.estimate.flops import FlopCount
from sgs.planning.estimate.live_bytes import LiveBytes

# Of each micro-batch size, two calls run: one before any gradient has been accumulated, one after.
CALLS_PER_SIZE = 2

PARAMETERS, GRADIENTS, OPTIMIZER = "parameters", "gradients", "optimizer_state"
ITEMS, FEATURES, ACTIVATIONS, HEAD = "items", "features", "activations", "head"
FORWARD, BACKWARD = "forward", "backward"
CATEGORIES = (PARAMETERS, GRADIENTS, OPTIMIZER, ITEMS, FEATURES, ACTIVATIONS, HEAD)

# The pass, the module that is called, and on how many items; the last two are None between calls.
Call = tuple[str, str | None, int | None]


class StepCounter:
    """Counts the bytes and operations of a step by what they are for, running few of its calls.

    NOTE [ Two calls per size ]
    Calls on micro-batches of one size take the same memory and operations. Two calls of each size
    run; the others return empty outputs of the right shapes, which the engine treats as usual, and
    only their operations are added. Calls of the first pass that keep their graph all run, because
    their memory adds up. After each of them two calls of each size run again, because the graph is
    alive beside them.

    Args:
        block: Passed on to `LiveBytes`.
    """

    def __init__(self, *, block: int) -> None:
        self.dry_run = DryRun()
        self.memory = LiveBytes(block=block, only=FakeTensor)
        self.flops = FlopCount()
        # Weak references: an alias kept alive here would keep its gradient, counted twice.
        self._hooked: dict[int, weakref.ref[Tensor]] = {}
        self._is_backward = False
        # What a real step would hold until the end of its backward.
        self.held: list[Any] = []
        self._calls: Counter[Call] = Counter()
        self._calls_run: Counter[Call] = Counter()
        self._calls_run_since_graph: Counter[Call] = Counter()
        self._outputs: dict[tuple[str, int], Any] = {}

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count inside."""
        with self.dry_run, self.flops, self.memory:
            yield

    @contextmanager
    def head(self) -> Iterator[None]:
        """Count what runs inside as head and loss."""
        self.flops.key = HEAD, None, None
        with self.memory.of(HEAD), self.dry_run.faking():
            yield

    def watch_parameters(self, parameters: Iterable[Tensor]) -> None:
        """Count the gradients of parameters as such, once they are accumulated."""
        for parameter in parameters:
            is_hooked = self._hooked.get(id(parameter), lambda: None)() is parameter
            if parameter.requires_grad and not is_hooked:
                parameter.register_post_accumulate_grad_hook(self._accumulated)
                self._hooked[id(parameter)] = weakref.ref(parameter)

    def _accumulated(self, parameter: Tensor) -> None:
        self.memory.assign([parameter.grad], GRADIENTS)

    def watch_features(self, features: Any) -> None:
        """Count as the encoder's backward what runs after the features have their gradients."""
        leaves = _tensors(features)
        self.memory.assign(leaves, FEATURES)
        trained = [x for x in leaves if x.requires_grad]
        if trained:
            register_multi_grad_hook(trained, self._enter_backward)

    def _enter_backward(self, gradients: Sequence[Tensor | None]) -> None:
        self.memory.assign(gradients, FEATURES)
        self.memory.category = ACTIVATIONS
        self._is_backward = True
        self.flops.key = BACKWARD, None, None

    def call_encoder(
        self, encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call the encoder, or return outputs like those of an equal call."""
        inputs = _tensors((args, kwargs))
        # Set again here, because a stem before the encoder changes the category.
        self.memory.category = ACTIVATIONS if self._is_backward else FEATURES
        if self._is_backward:
            # Tensors that outlive the graph of the previous micro-batch are sums of gradients.
            self.memory.move(ACTIVATIONS, GRADIENTS)
        self.memory.assign(inputs, ITEMS)
        if torch.is_grad_enabled():
            self.watch_parameters(encoder.parameters())
        outputs = self._call("encoder", encoder, args, kwargs)
        ids = {id(x) for x in inputs}
        self.memory.assign((x for x in _tensors(outputs) if id(x) not in ids), FEATURES)
        return outputs

    def call_stem(self, stem: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the frozen stem, or return outputs like those of an equal call."""
        self.memory.assign(_tensors((args, kwargs)), ITEMS)
        outputs = self._call("frozen_stem", stem, args, kwargs)
        self.memory.assign(_tensors(outputs), ITEMS)
        return outputs

    def _call(
        self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        count = len(_tensors((args, kwargs))[0])
        call = (BACKWARD if self._is_backward else FORWARD, name, count)
        self._calls[call] += 1
        keeps_graph = torch.is_grad_enabled() and not self._is_backward
        if keeps_graph:
            self._calls_run_since_graph.clear()
        if self._calls_run_since_graph[call] >= CALLS_PER_SIZE:
            self.flops.key = call[0], None, None
            return self._empty_outputs(self._outputs[name, count])
        self._calls_run[call] += 1
        self._calls_run_since_graph[call] += 1
        self.flops.key = call
        with self.memory.of(ACTIVATIONS), self.dry_run.faking():
            outputs = module(*args, **kwargs)
        self._outputs[name, count] = pytree.tree_map(_described, outputs)
        return outputs

    def _empty_outputs(self, described: Any) -> Any:
        def empty(leaf: Any) -> Any:
            if not isinstance(leaf, _Described):
                return leaf
            tensor = torch.empty(leaf.shape, dtype=leaf.dtype, device="cpu")
            return tensor.requires_grad_(torch.is_grad_enabled() and is_differentiable(tensor))

        with self.memory.of(FEATURES), self.dry_run.faking():
            return pytree.tree_map(empty, described)

    def add_calls(self, names: Iterable[str], counts: Iterable[int]) -> None:
        """Add the operations, in both passes, of calls that are not made at all.

        Args:
            names: The modules that they would call.
            counts: The numbers of items in these calls.
        """
        calls = [(name, count) for name in names for count in counts]
        self._calls.update((part, *call) for part in (FORWARD, BACKWARD) for call in calls)

    def flops_by_part(self) -> dict[str, int]:
        """Return the operations of a real step, with those of the calls that did not run."""
        by_part: Counter[str] = Counter({FORWARD: 0, HEAD: 0, BACKWARD: 0})
        for call, flops in self.flops.by_key.items():
            by_part[call[0]] += flops * self._calls.get(call, 1) // self._calls_run.get(call, 1)
        return dict(by_part)


def calls_to_run(sizes: Sequence[int]) -> list[int]:
    """Return the positions of the first calls of each size; see NOTE [ Two calls per size ]."""
    seen: Counter[int] = Counter()
    positions = []
    for position, size in enumerate(sizes):
        seen[size] += 1
        if seen[size] <= CALLS_PER_SIZE:
            positions.append(position)
    return positions


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(tree) if isinstance(x, Tensor)]


@dataclass(frozen=True)
class _Described:
    """The shape and type of a tensor."""

    shape: torch.Size
    dtype: torch.dtype


def _described(leaf: Any) -> Any:
    return _Described(leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf
