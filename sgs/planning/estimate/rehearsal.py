"""A training step on fake tensors, watched from the inside."""

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

# Alike calls: the first meets nothing that has been gathered, the second does.
REHEARSED = 2

PARAMETERS, GRADIENTS, OPTIMIZER = "parameters", "gradients", "optimizer_state"
ITEMS, FEATURES, ACTIVATIONS, HEAD = "items", "features", "activations", "head"
FORWARD, BACKWARD = "forward", "backward"
CATEGORIES = (PARAMETERS, GRADIENTS, OPTIMIZER, ITEMS, FEATURES, ACTIVATIONS, HEAD)

# A pass, what is called in it and on how many items; the last are None outside of calls.
Place = tuple[str, str | None, int | None]


class Rehearsal:
    """What counts bytes and operations, and knows what they are for.

    NOTE [ Some calls stand for all ]
    Micro-batches of one size are alike. Two of each size are computed; what is called on the others
    returns empty outputs, which the engine handles like any, so that only the arithmetic of an
    encoder is left out. Calls of the first pass that keep their graph are all computed, since their
    memory adds up, and two of each size again after them, which meet it.

    Args:
        block: As of `LiveBytes`.
    """

    def __init__(self, *, block: int) -> None:
        self.dry_run = DryRun()
        self.memory = LiveBytes(block=block, only=FakeTensor)
        self.flops = FlopCount()
        # Weak: the gradient of an alias that lived on would be counted twice.
        self._hooked: dict[int, weakref.ref[Tensor]] = {}
        self._is_backward = False
        # What a real step would hold until its backward is through.
        self.held: list[Any] = []
        # How many calls a step makes, and how many were computed here.
        self._all: Counter[Place] = Counter()
        self._made: Counter[Place] = Counter()
        # How many were computed beside the graphs that are kept now.
        self._met: Counter[Place] = Counter()
        self._templates: dict[tuple[str, int], Any] = {}

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count inside."""
        with self.dry_run, self.flops, self.memory:
            yield

    @contextmanager
    def head(self) -> Iterator[None]:
        """Run the head and the loss inside."""
        self.flops.place = HEAD, None, None
        with self.memory.of(HEAD), self.dry_run.faking():
            yield

    def watch_parameters(self, parameters: Iterable[Tensor]) -> None:
        """Tell gradients, when they are gathered, from other tensors of the backward."""
        for parameter in parameters:
            known = self._hooked.get(id(parameter), lambda: None)() is parameter
            if parameter.requires_grad and not known:
                parameter.register_post_accumulate_grad_hook(self._gathered)
                self._hooked[id(parameter)] = weakref.ref(parameter)

    def _gathered(self, parameter: Tensor) -> None:
        self.memory.assign([parameter.grad], GRADIENTS)

    def watch_features(self, features: Any) -> None:
        """Tell when the head has been back-propagated through and the encoder's turn comes."""
        leaves = [x for x in pytree.tree_leaves(features) if isinstance(x, Tensor)]
        self.memory.assign(leaves, FEATURES)
        trained = [x for x in leaves if x.requires_grad]
        if trained:
            register_multi_grad_hook(trained, self._enter_backward)

    def _enter_backward(self, gradients: Sequence[Tensor | None]) -> None:
        self.memory.assign(gradients, FEATURES)
        self.memory.category = ACTIVATIONS
        self._is_backward = True
        self.flops.place = BACKWARD, None, None

    def encode(self, encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the encoder."""
        given = _tensors((args, kwargs))
        # Also after what runs in front of the encoder.
        self.memory.category = ACTIVATIONS if self._is_backward else FEATURES
        if self._is_backward:
            # What has outlived the graph of the micro-batch before are sums of gradients.
            self.memory.move(ACTIVATIONS, GRADIENTS)
        self.memory.assign(given, ITEMS)
        if torch.is_grad_enabled():
            self.watch_parameters(encoder.parameters())
        outputs = self._call("encoder", encoder, args, kwargs)
        known = {id(x) for x in given}
        self.memory.assign((x for x in _tensors(outputs) if id(x) not in known), FEATURES)
        return outputs

    def prepare(self, stem: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the stem in front of the encoder."""
        self.memory.assign(_tensors((args, kwargs)), ITEMS)
        outputs = self._call("frozen_stem", stem, args, kwargs)
        self.memory.assign(_tensors(outputs), ITEMS)
        return outputs

    def _call(
        self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        count = len(_tensors((args, kwargs))[0])
        place = (BACKWARD if self._is_backward else FORWARD, name, count)
        self._all[place] += 1
        keeps_graph = torch.is_grad_enabled() and not self._is_backward
        if keeps_graph:
            # All calls after this one meet its graph.
            self._met.clear()
        if self._met[place] >= REHEARSED:
            self.flops.place = place[0], None, None
            return self._stand_in(self._templates[name, count])
        self._made[place] += 1
        self._met[place] += 1
        self.flops.place = place
        with self.memory.of(ACTIVATIONS), self.dry_run.faking():
            outputs = module(*args, **kwargs)
        self._templates[name, count] = pytree.tree_map(_described, outputs)
        return outputs

    def _stand_in(self, template: Any) -> Any:
        """Return outputs that nothing was computed for."""

        def make(leaf: Any) -> Any:
            if not isinstance(leaf, _Described):
                return leaf
            made = torch.empty(leaf.shape, dtype=leaf.dtype, device="cpu")
            return made.requires_grad_(torch.is_grad_enabled() and is_differentiable(made))

        with self.memory.of(FEATURES), self.dry_run.faking():
            return pytree.tree_map(make, template)

    def leave_out(self, names: Iterable[str], counts: Iterable[int]) -> None:
        """Count calls that are not made in either pass, by what is called and its items."""
        left_out = [(name, count) for name in names for count in counts]
        self._all.update((part, *call) for part in (FORWARD, BACKWARD) for call in left_out)

    def flops_by_part(self) -> dict[str, int]:
        """Return the operations of a real step; calls of one size count alike."""
        found: Counter[str] = Counter({FORWARD: 0, HEAD: 0, BACKWARD: 0})
        for place, flops in self.flops.by_place.items():
            made = self._made.get(place, 1)
            found[place[0]] += flops * self._all.get(place, 1) // made
        return dict(found)


def rehearsed(sizes: Sequence[int]) -> list[int]:
    """Return the positions of the calls that stand for all: some of each size."""
    seen: Counter[int] = Counter()
    kept = []
    for position, size in enumerate(sizes):
        seen[size] += 1
        if seen[size] <= REHEARSED:
            kept.append(position)
    return kept


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(tree) if isinstance(x, Tensor)]


@dataclass(frozen=True)
class _Described:
    """A tensor without its memory."""

    shape: torch.Size
    dtype: torch.dtype


def _described(leaf: Any) -> Any:
    return _Described(leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf
