"""The random states that an encoder draws from, restored in the second pass."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class RandomSource:
    """A generator of random numbers.

    Args:
        get: Reads its state.
        set: Sets it.
        is_shared: Whether other threads are likely to draw from it too. It is then restored only
            if the encoder drew from it.
    """

    get: Callable[[], Any]
    set: Callable[[Any], object]
    is_shared: bool = False

    @staticmethod
    def of_device(device: torch.device) -> RandomSource:
        """Return torch's default generator of a device."""
        if device.type == "cpu":
            return RandomSource(torch.get_rng_state, torch.set_rng_state)
        module = torch.get_device_module(device)
        return RandomSource(
            partial(module.get_rng_state, device), partial(module.set_rng_state, device=device)
        )

    @staticmethod
    def of(value: Any) -> RandomSource | None:
        """Return the source for a generator of torch, Python or NumPy; None for other objects."""
        # type(), because isinstance() fails on a weak proxy whose object is gone.
        kind = type(value)
        if issubclass(kind, torch.Generator):
            return RandomSource(value.get_state, value.set_state)
        if issubclass(kind, random.Random):
            return RandomSource(value.getstate, value.setstate)
        # torch imports NumPy if it is installed; this library does not require it.
        numpy = sys.modules.get("numpy")
        if numpy is None:
            return None
        if issubclass(kind, numpy.random.RandomState):
            return _of_numpy(value)
        if issubclass(kind, numpy.random.Generator):
            bits = value.bit_generator
            return RandomSource(
                lambda: pickle.dumps(bits.state),  # of arrays, and pickles can be compared
                lambda state: setattr(bits, "state", pickle.loads(state)),
            )
        return None


def _of_numpy(generator: Any, *, is_shared: bool = False) -> RandomSource:
    """Return a source of NumPy's Mersenne Twister, its state in bytes, which can be compared."""

    def get() -> tuple[Any, ...]:
        name, key, *rest = generator.get_state()
        return name, key.dtype, key.tobytes(), *rest

    def set_(state: tuple[Any, ...]) -> None:
        name, dtype, key, *rest = state
        generator.set_state((name, sys.modules["numpy"].frombuffer(key, dtype), *rest))

    return RandomSource(get, set_, is_shared)


def random_sources(
    held: Iterable[Any], devices: Iterable[torch.device]
) -> tuple[RandomSource, ...]:
    """Return the known sources of an encoder.

    These are torch's default generators, Python's `random` (often used for LayerDrop), NumPy's
    global generator (masks of spectrograms), and those among the objects held by its modules.
    """
    sources = [*map(RandomSource.of_device, devices)]
    sources.append(RandomSource(random.getstate, random.setstate, is_shared=True))
    if numpy := sys.modules.get("numpy"):
        sources.append(_of_numpy(numpy.random, is_shared=True))
    found = map(RandomSource.of, held)
    return (*sources, *(source for source in found if source is not None))


@dataclass(frozen=True)
class RandomState:
    """The states of some sources, as pairs of source and state."""

    states: tuple[Any, ...]

    @staticmethod
    def capture(sources: Iterable[Any]) -> RandomState:
        """Copy the states of `RandomSource`s."""
        # Any: to check element types, a run-time type checker draws from Python's random itself.
        return RandomState(tuple((source, source.get()) for source in sources))

    def without_undrawn(self) -> tuple[RandomState, bool]:
        """Keep only the sources to restore for a replay, and tell whether any was drawn from.

        Shared sources that the encoder did not touch are dropped: restoring them would disturb
        other threads. All others are kept, because the encoder may have drawn from them and set
        them back, as `torch.random.fork_rng` does.
        """
        drawn = [not _are_equal(state, source.get()) for source, state in self.states]
        pairs = zip(self.states, drawn, strict=True)
        kept = tuple(entry for entry, drew in pairs if drew or not entry[0].is_shared)
        return RandomState(kept), any(drawn)

    def drawn_since(self, earlier: RandomState) -> list[RandomSource]:
        """Return the sources whose state differs from an earlier one of all sources."""
        pairs = zip(self.states, earlier.states, strict=True)
        return [source for (source, now), (_, then) in pairs if not _are_equal(now, then)]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Draw the same random numbers again inside; restore the caller's states at the end."""
        current = RandomState.capture(source for source, _ in self.states)
        self._set()
        try:
            yield
        finally:
            current._set()

    def _set(self) -> None:
        for source, state in self.states:
            source.set(state)


def _are_equal(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)


class RandomStates:
    """The random states before consecutive calls; those that draw no numbers share one copy."""

    def __init__(self) -> None:
        self._idle: RandomState | None = None

    def after_call(self, before: RandomState) -> tuple[RandomState, bool]:
        """Return what to restore for a replay, and whether the call drew random numbers."""
        state, drew = before.without_undrawn()
        self._idle = None if drew else self._idle or state
        return self._idle or state, drew


class ConstantRandomNumbers(TorchDispatchMode):
    """Replaces torch's random numbers by constants inside, and dropout by nothing.

    Operations that draw numbers for tensors, e.g. attention with dropout, still compute with these.
    """

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call an operation."""
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in function.tags:
            return function(*args, **kwargs)
        names = [argument.name for argument in function._schema.arguments]
        chances = [i for i, name in enumerate(names) if name in ("dropout_p", "dropout")]
        if chances:
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            return function(**{**given, names[chances[0]]: 0.0})
        found = function(*args, **kwargs)
        is_in_place = function._schema.name.endswith("_")
        if args and isinstance(args[0], Tensor) and not is_in_place:
            value = args[0].clone()
            return (value, torch.ones_like(found[1])) if isinstance(found, tuple) else value
        pytree.tree_map_only(Tensor, lambda x: x.fill_(0.5 if x.is_floating_point() else 0), found)
        return found
