"""The random numbers that an encoder can draw, drawn again in the second pass."""

from __future__ import annotations

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


def random_sources(encoder: nn.Module, devices: Iterable[torch.device]) -> tuple[Source, ...]:
    """Return all that an encoder is known to draw from.

    Those are torch's default generators, the generators that its modules hold as attributes,
    Python's `random` (LayerDrop is often written with it) and NumPy's global generator (masks of
    spectrograms).
    """
    values = [value for module in encoder.modules() for value in vars(module).values()]
    held = {id(value): value for value in values if isinstance(value, torch.Generator)}
    sources = [*map(Source.of_device, devices)]
    sources += [Source(held.get_state, held.set_state) for held in held.values()]
    sources.append(Source(random.getstate, random.setstate))
    # torch has imported NumPy where it is installed; the library itself does not need it.
    if "numpy" in sys.modules:
        sources.append(Source(_numpy_state, sys.modules["numpy"].random.set_state))
    return tuple(sources)


def _numpy_state() -> tuple[Any, ...]:
    name, keys, *rest = sys.modules["numpy"].random.get_state()
    return (name, keys.tolist(), *rest)


@dataclass(frozen=True)
class RandomState:
    """The states of some sources of random numbers, as pairs of source and state."""

    states: tuple[Any, ...]

    @staticmethod
    def capture(sources: Iterable[Any]) -> RandomState:
        """Copy the states of `Source`s: 5 kB for one on the CPU, 16 bytes for one on a GPU."""
        # Any: a run-time checker of element types would draw from Python's random itself.
        return RandomState(tuple((source, source.get()) for source in sources))

    def equals(self, other: RandomState) -> bool:
        """Tell whether no random number was drawn between the two captures."""
        pairs = zip(self.states, other.states, strict=True)
        return all(_are_equal(mine, theirs) for (_, mine), (_, theirs) in pairs)

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
