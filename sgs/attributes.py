"""The plain attributes of the encoder's modules, which both passes find as the call found them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

# Parameters, buffers, submodules, hooks and the mode: not attributes that a user has set.
OWN = frozenset(vars(nn.Module()))


class CalledAttributes:
    """The attributes of the encoder's modules when it was called.

    As the buffers (see NOTE [ Buffers are rewound ]), a counter that is a number then counts one
    call, and what a module caches in an attribute, or in a dict or list that is one, is computed
    anew by each micro-batch: a value cached by the first pass would have no graph for the second.

    Args:
        encoder: The module that is about to be called.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._modules = list(encoder.modules())
        self._called = [_Attributes(module) for module in self._modules]

    def rewind(self) -> None:
        """Put the attributes of the call back, and remove those that it did not have."""
        for attributes in self._called:
            attributes.put_back()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Leave all attributes behind as they are: those of the second pass may hold graphs."""
        present = [_Attributes(module) for module in self._modules]
        try:
            yield
        finally:
            for attributes in present:
                attributes.put_back()


class _Attributes:
    """The attributes of one module: which objects they are, and what containers among them hold."""

    def __init__(self, module: nn.Module) -> None:
        self._present = vars(module)
        self._values = {name: x for name, x in self._present.items() if name not in OWN}
        self._num_own = len(self._present) - len(self._values)
        self._contents = [(x, _copy(x)) for x in self._values.values() if _is_rewound(x)]

    def put_back(self) -> None:
        present = self._present
        for name, value in self._values.items():
            if present.get(name, self) is not value:
                present[name] = value
        if len(present) > self._num_own + len(self._values):
            for name in present.keys() - self._values.keys() - OWN:
                del present[name]
        for container, content in self._contents:
            if not _holds(container, content):
                _fill(container, content)


def _is_rewound(value: Any) -> bool:
    """Tell whether a value is a container whose content can be put back.

    Lists of parameters, as recurrent layers have one, follow the parameters that are in place.
    """
    if not isinstance(value, list | dict | set | deque):
        return False
    items = value.values() if isinstance(value, dict) else value
    return not any(isinstance(item, nn.Parameter) for item in items)


def _copy(container: Any) -> Any:
    return dict(container) if isinstance(container, dict) else list(container)


def _holds(container: Any, content: Any) -> bool:
    if len(container) != len(content):
        return False
    if isinstance(container, dict):
        return all(container.get(key, content) is value for key, value in content.items())
    if isinstance(container, set):
        return all(value in container for value in content)
    return all(a is b for a, b in zip(container, content, strict=True))


def _fill(container: Any, content: Any) -> None:
    container.clear()
    if isinstance(container, dict | set):
        container.update(content)
    else:
        container.extend(content)
