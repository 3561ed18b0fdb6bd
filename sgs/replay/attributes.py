"""The plain attributes of the encoder's modules, restored before each encoder call."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import is_
from types import NoneType
from typing import Any

from torch import Tensor, nn

# Attributes of every module, e.g. `_parameters`, `_buffers`, `training`; not set by the user.
OWN = frozenset(vars(nn.Module()))
PLAIN = (NoneType, bool, int, float, str)
MAPPINGS = (dict, OrderedDict, defaultdict)
CONTAINERS = (*MAPPINGS, list, set, deque)
# Longer containers are taken for data, e.g. a vocabulary, not for a cache.
LONGEST = 1000


class CalledAttributes:
    """The attributes of the encoder's modules at the time of the call.

    Restored like buffers (see NOTE [ Buffers are rewound ]): numbers, e.g. a counter, which then
    counts one call; the contents of lists, dicts and sets; and attributes that were None, empty or
    missing. A value cached in them by the first pass would have no graph in the second, so each
    micro-batch computes it anew. Nonempty tensors are not restored. If the encoder carries one from
    micro-batch to micro-batch, items interact, and the features of both passes differ.

    Args:
        encoder: The encoder, before its call.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._modules = list(encoder.modules())
        self._called = [_Attributes(vars(module), only_plain=True) for module in self._modules]
        self._contents = _contents(self._modules)

    def rewind(self) -> None:
        """Restore the attributes of the call, and remove new ones."""
        _put_back(self._called, self._contents)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Restore all attributes at the end; those set by the second pass may hold graphs."""
        present = [_Attributes(vars(module), only_plain=False) for module in self._modules]
        contents = _contents(self._modules)
        try:
            yield
        finally:
            _put_back(present, contents)


class _Attributes:
    """The attributes of one module: their names, and the objects to restore."""

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
    """Return the containers held by modules, also nested ones, each with a copy of its content."""
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
        # Recurrent layers update their lists of parameters themselves when a parameter is replaced.
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
