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

from sgs.replay.attributes import LONGEST


@dataclass(frozen=True)
class RandomSource:
    """A generator of random numbers.

    Args:
        get: Reads its state.
        set: Sets it.
        is_shared: Whether threads that have nothing to do with the encoder are likely to draw from
            it, too: its state is put back only where the encoder has left another one.
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
        """Return a generator that some object is, or None: torch's, Python's or NumPy's."""
        # Of the type: a proxy whose object is gone cannot be asked.
        kind = type(value)
        if issubclass(kind, torch.Generator):
            return RandomSource(value.get_state, value.set_state)
        if issubclass(kind, random.Random):
            return RandomSource(value.getstate, value.setstate)
        # torch has imported NumPy where it is installed; the library itself does not need it.
        numpy = sys.modules.get("numpy")
        if numpy is None:
            return None
        if issubclass(kind, numpy.random.RandomState):
            return _pickled(value.get_state, value.set_state)
        if issubclass(kind, numpy.random.Generator):
            bits = value.bit_generator
            return _pickled(lambda: bits.state, partial(setattr, bits, "state"))
        return None


def _pickled(
    get: Callable[[], Any], set_: Callable[[Any], object], *, is_shared: bool = False
) -> RandomSource:
    """Return a source whose states, which hold arrays, can be compared."""
    return RandomSource(
        lambda: pickle.dumps(get()), lambda state: set_(pickle.loads(state)), is_shared=is_shared
    )


def random_sources(encoder: nn.Module, devices: Iterable[torch.device]) -> tuple[RandomSource, ...]:
    """Return all that an encoder is known to draw from.

    Those are torch's default generators, the generators that its modules hold as attributes or in
    lists and dicts that are attributes, Python's `random` (LayerDrop is often written with it) and
    NumPy's global generator (masks of spectrograms).
    """
    values = [x for module in encoder.modules() for x in _held(vars(module).values())]
    held = [RandomSource.of(value) for value in {id(value): value for value in values}.values()]
    sources = [*map(RandomSource.of_device, devices)]
    sources.append(RandomSource(random.getstate, random.setstate, is_shared=True))
    if numpy := sys.modules.get("numpy"):
        state = numpy.random.get_state, numpy.random.set_state
        sources.append(_pickled(*state, is_shared=True))
    return (*sources, *(source for source in held if source is not None))


def _held(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield value
        if type(value) in (list, tuple, dict) and len(value) <= LONGEST:
            yield from value.values() if type(value) is dict else value


@dataclass(frozen=True)
class RandomState:
    """The states of some sources of random numbers, as pairs of source and state."""

    states: tuple[Any, ...]

    @staticmethod
    def capture(sources: Iterable[Any]) -> RandomState:
        """Copy the states of `RandomSource`s."""
        # Any: a run-time checker of element types would draw from Python's random itself.
        return RandomState(tuple((source, source.get()) for source in sources))

    def without_undrawn(self) -> tuple[RandomState, bool]:
        """Return what is to be put back for a replay, and whether numbers were drawn since.

        The rest need not be kept; nor put back, which a thread that draws from it would notice. But
        a source may have been drawn from and set back, as `torch.random.fork_rng` does: what others
        are not likely to draw from is always put back.
        """
        drawn = [not _are_equal(state, source.get()) for source, state in self.states]
        pairs = zip(self.states, drawn, strict=True)
        kept = tuple(entry for entry, drew in pairs if drew or not entry[0].is_shared)
        return RandomState(kept), any(drawn)

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
