"""The plain attributes of the encoder's modules, which both passes find as the call found them."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import is_
from types import NoneType
from typing import Any

from torch import Tensor, nn

# Parameters, buffers, submodules, hooks and the mode: not attributes that a user has set.
OWN = frozenset(vars(nn.Module()))
PLAIN = (NoneType, bool, int, float, str)
MAPPINGS = (dict, OrderedDict, defaultdict)
CONTAINERS = (*MAPPINGS, list, set, deque)
# Longer ones are taken for data, such as a vocabulary, not for a cache.
LONGEST = 1000


class CalledAttributes:
    """The attributes of the encoder's modules when it was called.

    As the buffers (see NOTE [ Buffers are rewound ]), a counter that is a number then counts one
    call, and what a module caches in an attribute that was None, empty or not there, or in a dict
    or list that is one, is computed anew by each micro-batch: a value cached by the first pass
    would have no graph for the second. Tensors with content stay: if they are carried from one
    micro-batch to the next, items interact, and the features of both passes differ.

    Args:
        encoder: The module that is about to be called.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._modules = list(encoder.modules())
        self._called = [_Attributes(vars(module), only_plain=True) for module in self._modules]
        self._contents = _contents(self._modules)

    def rewind(self) -> None:
        """Put the attributes of the call back, and remove those that it did not have."""
        _put_back(self._called, self._contents)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Leave all attributes behind as they are: those of the second pass may hold graphs."""
        present = [_Attributes(vars(module), only_plain=False) for module in self._modules]
        contents = _contents(self._modules)
        try:
            yield
        finally:
            _put_back(present, contents)


class _Attributes:
    """Which attributes a module has, and which objects they are."""

    def __init__(self, attributes: dict[str, Any], *, only_plain: bool) -> None:
        self._attributes = attributes
        self._names = set(attributes)
        own = ((name, x) for name, x in attributes.items() if name not in OWN)
        self._values = {name: x for name, x in own if not only_plain or _is_rewound(x)}

    def put_back(self) -> None:
        attributes = self._attributes
        for name, value in self._values.items():
            if attributes.get(name, self) is not value:
                attributes[name] = value
        if len(attributes) > len(self._names):
            for name in attributes.keys() - self._names:
                del attributes[name]


def _is_rewound(value: Any) -> bool:
    kind = type(value)
    return kind in PLAIN or kind in CONTAINERS or (issubclass(kind, Tensor) and value.numel() == 0)


def _put_back(attributes: Iterable[_Attributes], contents: Iterable[tuple[Any, Any]]) -> None:
    for entry in attributes:
        entry.put_back()
    for container, content in contents:
        if not _holds(container, content):
            _fill(container, content)


def _contents(modules: Iterable[nn.Module]) -> list[tuple[Any, Any]]:
    """Return the containers that modules hold, also inside of others, with what they hold."""
    pending = [x for m in modules for name, x in vars(m).items() if name not in OWN]
    found: dict[int, tuple[Any, Any]] = {}
    while pending:
        container = pending.pop()
        if type(container) is tuple and len(container) <= LONGEST:
            pending += container
        if type(container) not in CONTAINERS or id(container) in found:
            continue
        if len(container) > LONGEST:
            continue
        items = list(container.values() if type(container) in MAPPINGS else container)
        # Lists of parameters, as recurrent layers have, follow the parameters that are in place.
        are_parameters = items and all(issubclass(type(item), nn.Parameter) for item in items)
        if type(container) is list and are_parameters:
            continue
        is_mapping = type(container) in MAPPINGS
        found[id(container)] = container, dict(container) if is_mapping else items
        pending += items
    return list(found.values())


def _holds(container: Any, content: Any) -> bool:
    if len(container) != len(content):
        return False
    if type(container) in MAPPINGS:
        values = map(is_, container.values(), content.values())
        return all(map(is_, container, content)) and all(values)
    return all(map(is_, container, content))


def _fill(container: Any, content: Any) -> None:
    container.clear()
    if type(container) in (*MAPPINGS, set):
        container.update(content)
    else:
        container.extend(content)
