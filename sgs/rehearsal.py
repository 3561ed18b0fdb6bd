"""A training step on fake tensors, watched from the inside."""

from __future__ import annotations

import weakref
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.graph import register_multi_grad_hook
from torch.utils import _pytree as pytree

from sgs.dry_run import DryRun
from sgs.flops import FlopCount
from sgs.live_bytes import LiveBytes

# Alike micro-batches: the first meets nothing that has been gathered, the second does.
REHEARSED = 2

PARAMETERS, GRADIENTS, OPTIMIZER = "parameters", "gradients", "optimizer_state"
ITEMS, FEATURES, ACTIVATIONS, HEAD = "items", "features", "activations", "head"
FORWARD, BACKWARD = "forward", "backward"
CATEGORIES = (PARAMETERS, GRADIENTS, OPTIMIZER, ITEMS, FEATURES, ACTIVATIONS, HEAD)

# A pass, and the number of items of a call; None where all calls of a step are made.
Place = tuple[str, int | None]


class Rehearsal:
    """What counts bytes and operations, and knows what they are for.

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
        # How many calls a step makes and how many were made here, by pass and size.
        self._all: Counter[Place] = Counter()
        self._made: Counter[Place] = Counter()
        self._coming: deque[Place] = deque()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count inside."""
        with self.dry_run, self.flops, self.memory:
            yield

    @contextmanager
    def head(self) -> Iterator[None]:
        """Run the head and the loss inside."""
        self.flops.place = HEAD, None
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
        self.flops.place = BACKWARD, None

    def encode(self, encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the encoder."""
        given = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if self._is_backward:
            # What has outlived the graph of the micro-batch before are sums of gradients.
            self.memory.move(ACTIVATIONS, GRADIENTS)
        self.memory.assign(given, ITEMS)
        if torch.is_grad_enabled():
            self.watch_parameters(encoder.parameters())
        default = BACKWARD if self._is_backward else FORWARD, None
        self.flops.place = self._coming.popleft() if self._coming else default
        with self.memory.of(ACTIVATIONS), self.dry_run.faking():
            outputs = encoder(*args, **kwargs)
        known = {id(x) for x in given}
        self.memory.assign((x for x in pytree.tree_leaves(outputs) if id(x) not in known), FEATURES)
        return outputs

    def announce(self, name: str, *, sizes: Sequence[int], made: Sequence[int]) -> None:
        """Say which calls of a pass come next.

        Args:
            name: The pass.
            sizes: The number of items of each call of a real step.
            made: That of each call that is made here.
        """
        self._all.update((name, size) for size in sizes)
        self._made.update((name, size) for size in made)
        self._coming.extend((name, size) for size in made)

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
