"""The plain attributes of the encoder's modules, which both passes find as the call found them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import NoneType
from typing import Any

from torch import nn

PLAIN = (NoneType, bool, int, float, str)


class CalledAttributes:
    """The attributes of the encoder's modules when it was called, as far as they are no tensors.

    As the buffers (see NOTE [ Buffers are rewound ]), a counter that is a number then counts one
    call, and what a module caches in an attribute that was None, or not there, is computed anew by
    each micro-batch: a value cached by the first pass would have no graph for the second one.

    Args:
        encoder: The module that is about to be called.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._modules = list(encoder.modules())
        self._names = [set(vars(module)) for module in self._modules]
        self._plain = [
            {name: value for name, value in vars(module).items() if isinstance(value, PLAIN)}
            for module in self._modules
        ]

    def rewind(self) -> None:
        """Put the attributes of the call back, and remove those that it did not have."""
        for module, names, plain in zip(self._modules, self._names, self._plain, strict=True):
            _restore(vars(module), names, plain)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Leave all attributes behind as they are: those of the second pass may hold graphs."""
        present = [dict(vars(module)) for module in self._modules]
        try:
            yield
        finally:
            for module, values in zip(self._modules, present, strict=True):
                _restore(vars(module), values.keys(), values)


def _restore(attributes: dict[str, Any], names: Any, values: dict[str, Any]) -> None:
    if len(attributes) > len(names):
        for name in attributes.keys() - names:
            del attributes[name]
    for name, value in values.items():
        if attributes.get(name, values) is not value:
            attributes[name] = value
