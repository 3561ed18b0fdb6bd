"""What the modules of an encoder hold: compared with later, and restored."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sgs.replay.kept import Kept
from sgs.replay.sameness import FREQUENT, PLAIN, has_attributes, is_container, is_value

# Of every module: the values of parameters, and hooks that no call touches.
SKIPPED = frozenset(name for name in vars(nn.Module()) if "dict_" in name) | {"_parameters"}
OWN = frozenset(vars(nn.Module())) - SKIPPED
# Longer containers, and larger tensors in attributes, are taken for data and not copied.
LONGEST = 1000
LARGEST = 2**20


class Snapshot(dict[int, Kept]):
    """What some modules hold at one time: all that a call may change beside its result.

    These are attributes, hooks, submodules and buffers; the content of lists, dicts, sets and
    deques in attributes, also nested ones; the attributes of objects that hold no other objects;
    and the values of all tensors but parameters.

    Args:
        modules: The modules by name.

    Attributes:
        others: Other objects that were found, e.g. generators of random numbers, by their id.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._modules = modules
        # Nearly all containers are empty, and one look tells that they still are.
        self._empty: list[Any] = []
        self.others: dict[int, Any] = {}
        self._followed = {id(module._parameters) for module in modules.values()}
        for name, module in modules.items():
            attributes = vars(module)
            self[id(attributes)] = Kept.of(attributes, name, "attributes")
            for key, value in attributes.items():
                kind: Any = type(value)
                if kind in PLAIN or key in SKIPPED:
                    continue
                if not value if kind in FREQUENT else is_container(kind) and not value:
                    self._empty.append(value)
                else:
                    self._add(value, name, key)

    def _add(self, value: Any, path: str, key: Any) -> None:
        kind: Any = type(value)
        if kind in PLAIN or id(value) in self or id(value) in self._followed:
            return
        name, own = _place(path, key)
        if is_container(kind) or issubclass(kind, tuple):
            self._add_container(value, name, own)
        elif issubclass(kind, Tensor):
            if not issubclass(kind, nn.Parameter) and value.numel() <= LARGEST:
                self[id(value)] = Kept.of(value, name)
        elif not issubclass(kind, nn.Module):
            self._followed.add(id(value))
            self.others[id(value)] = value
            if has_attributes(kind):
                self._add_object(vars(value), name)

    def _add_object(self, attributes: dict[str, Any], name: str) -> None:
        """Add the attributes of an object, if it holds no other: it could be left half restored."""
        if inner := [x for x in attributes.values() if not is_value(type(x))]:
            self.others |= {id(x): x for x in inner}
            return
        self[id(attributes)] = Kept.of(attributes, name)
        for key, value in attributes.items():
            self._add(value, name, key)

    def _add_container(self, value: Any, name: str, own: str) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        # Recurrent layers update their lists of parameters themselves when a parameter is replaced.
        parameters = [x for x in value if type(x) is nn.Parameter] if type(value) is list else []
        if (len(value) > LONGEST and not own) or (parameters and len(parameters) == len(value)):
            return
        if not isinstance(value, tuple):
            self[id(value)] = Kept.of(value, name, own)
        for key, item in items:
            if own == "_buffers" and isinstance(item, Tensor):
                self[id(item)] = Kept.of(item, f"{name}.{key}" if name else str(key), own)
            elif not own:
                self._add(item, name, key)

    def changes(self, *, by_value: bool = False) -> list[Kept]:
        """Return the containers and tensors that differ now.

        Args:
            by_value: Whether to compare tensors with the same version too: `.data` and some kernels
                count none. This may wait for a GPU.
        """
        if any(self._empty):
            filled = {id(x) for x in self._empty if x}
            for name, module in self._modules.items():
                for key, x in vars(module).items():
                    if id(x) in filled and key not in SKIPPED:
                        empty: Any = {} if isinstance(x, dict) else set()
                        empty = [] if isinstance(x, list | deque) else empty
                        self[id(x)] = Kept(x, empty, *_place(name, key))
        return [kept for kept in self.values() if kept.is_changed(by_value=by_value)]


def _place(path: str, key: Any) -> tuple[str, str]:
    """Return the name of a key, and which part of a module it is, if it is one."""
    if key in OWN:
        return path, key
    return f"{path}.{key}" if path else str(key), ""
