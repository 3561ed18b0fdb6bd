"""The random numbers that an encoder can draw, drawn again in the second pass."""

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
from torch import Tensor, nn


@dataclass(frozen=True)
class Source:
    """A generator of random numbers, by how its state is read and set."""

    get: Callable[[], Any]
    set: Callable[[Any], object]

    @staticmethod
    def of_device(device: torch.device) -> Source:
        """Return torch's default generator of a device."""
        if device.type == "cpu":
            return Source(torch.get_rng_state, torch.set_rng_state)
        module = torch.get_device_module(device)
        return Source(
            partial(module.get_rng_state, device), partial(module.set_rng_state, device=device)
        )

    @staticmethod
    def of(value: Any) -> Source | None:
        """Return a generator that some object is, or None: torch's, Python's or NumPy's."""
        if isinstance(value, torch.Generator):
            return Source(value.get_state, value.set_state)
        if isinstance(value, random.Random):
            return Source(value.getstate, value.setstate)
        # torch has imported NumPy where it is installed; the library itself does not need it.
        numpy = sys.modules.get("numpy")
        if numpy is None:
            return None
        if isinstance(value, numpy.random.RandomState):
            return _pickled(value.get_state, value.set_state)
        if isinstance(value, numpy.random.Generator):
            bits = value.bit_generator
            return _pickled(lambda: bits.state, partial(setattr, bits, "state"))
        return None


def _pickled(get: Callable[[], Any], set_: Callable[[Any], object]) -> Source:
    """Return a source whose states, which hold arrays, can be compared."""
    return Source(lambda: pickle.dumps(get()), lambda state: set_(pickle.loads(state)))


def random_sources(encoder: nn.Module, devices: Iterable[torch.device]) -> tuple[Source, ...]:
    """Return all that an encoder is known to draw from.

    Those are torch's default generators, the generators that its modules hold as attributes or in
    lists and dicts that are attributes, Python's `random` (LayerDrop is often written with it) and
    NumPy's global generator (masks of spectrograms).
    """
    values = [x for module in encoder.modules() for x in _held(vars(module).values())]
    held = [Source.of(value) for value in {id(value): value for value in values}.values()]
    sources = [*map(Source.of_device, devices), Source(random.getstate, random.setstate)]
    if numpy := sys.modules.get("numpy"):
        sources.append(_pickled(numpy.random.get_state, numpy.random.set_state))
    return (*sources, *(source for source in held if source is not None))


def _held(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield value
        if isinstance(value, list | tuple):
            yield from value
        elif isinstance(value, dict):
            yield from value.values()


@dataclass(frozen=True)
class RandomState:
    """The states of some sources of random numbers, as pairs of source and state."""

    states: tuple[Any, ...]

    @staticmethod
    def capture(sources: Iterable[Any]) -> RandomState:
        """Copy the states of `Source`s."""
        # Any: a run-time checker of element types would draw from Python's random itself.
        return RandomState(tuple((source, source.get()) for source in sources))

    def drawn(self) -> RandomState:
        """Return the part of this state whose sources have drawn numbers since.

        The rest need not be kept, 5 kB for each on a CPU; nor put back, which another thread that
        draws from it would notice.
        """
        return RandomState(tuple((s, x) for s, x in self.states if not _are_equal(x, s.get())))

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Draw the same random numbers again; the caller's states are put back at the end."""
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
