"""A container or tensor that a module holds, and a copy of its content."""

from __future__ import annotations

from collections.abc import Collection
from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sgs.replay.sameness import FREQUENT, are_equal, are_same, is_container, is_value, version_of

# The key for all of the content of a list, set, deque or tensor.
WHOLE = object()


class Kept(NamedTuple):
    """A container or tensor, and a copy of its content.

    Attributes:
        held: The container or tensor itself.
        content: The copy.
        name: Its name, e.g. "block.0.cache".
        own: Which part of a module it is: "attributes", "_buffers", "_modules" or one of its dicts
            of hooks; "" if it is held by an attribute.
        version: How often torch had seen a tensor changed in place.
    """

    held: Any
    content: Any
    name: str
    own: str = ""
    version: int = 0

    @staticmethod
    def of(held: Any, name: str, own: str = "") -> Kept:
        """Copy the content of a container or tensor."""
        version = version_of(held) if isinstance(held, Tensor) else 0
        return Kept(held, _copy(held), name, own, version)

    def present(self) -> Any:
        """Return a copy of the content of now."""
        return _copy(self.held)

    def is_changed(self, *, by_value: bool) -> bool:
        """Tell whether the content differs now."""
        now, before = self.held, self.content
        if type(now) in FREQUENT or is_container(type(now)):
            if len(now) != len(before) or not all(map(is_, now, before)):
                return True
            return isinstance(now, dict) and not all(map(is_, now.values(), before.values()))
        is_new = version_of(now) != self.version
        return is_new or (by_value and not are_equal(now, before))

    def write(self, content: Any, *, standing: Collection[Any] = ()) -> None:
        """Put in another content, but not at the keys that stand."""
        held = self.held
        if isinstance(held, dict):
            content = {**content, **{key: held[key] for key in standing if key in held}}
            if self.own == "attributes":
                held.update(content)
                for key in held.keys() - content.keys():
                    del held[key]
            elif not all(map(is_, held.values(), content.values())) or [*held] != [*content]:
                held.clear()
                held.update(content)
        elif standing:
            return
        elif not isinstance(held, Tensor):
            held.clear()
            (held.update if isinstance(held, set) else held.extend)(content)
        elif not are_equal(held, content):
            with torch.inference_mode(held.is_inference()), torch.no_grad():
                if held.shape != content.shape:
                    # Observers of quantisation resize their buffers in the first call.
                    held.resize_(content.shape)
                held.copy_(content)

    def differing(self, other: Any) -> list[Any]:
        """Return the keys at which the content of now differs from another one, hooks apart."""
        now = self.held if isinstance(self.held, Tensor) else self.present()
        if "_hooks" in self.own or are_same(now, other):
            return []
        if not isinstance(now, dict):
            return [WHOLE]
        return [k for k in {**now, **other} if not are_same(now.get(k, self), other.get(k, self))]

    def has_grown(self) -> bool:
        """Tell whether values were appended to a list."""
        new = self.held[len(self.content) :] if isinstance(self.held, list) else []
        return any(is_value(type(x)) for x in new)

    def is_opaque(self) -> bool:
        """Tell whether something new cannot be compared in full, e.g. a closure."""
        if not isinstance(self.held, dict) or "_hooks" in self.own:
            return False
        new = [x for key, x in self.held.items() if x is not self.content.get(key, self)]
        return not all(is_value(type(x)) for x in new)

    def was_set(self, key: Any) -> bool:
        """Tell whether there was a value at a key, which is neither None nor empty."""
        value = self.value(key)
        size = value.numel() if isinstance(value, Tensor) else 1
        return value is not None and bool(size if not is_container(type(value)) else value)

    def value(self, key: Any) -> Any:
        """Return what was at a key."""
        return self.content if key is WHOLE else self.content.get(key)

    def label(self, key: Any) -> str:
        """Return the name of a key."""
        path = [self.name] if self.name else []
        return ".".join(path if key is WHOLE else [*path, str(key)])


def _copy(held: Any) -> Any:
    """Copy the content of a tensor or container; of a derived class, too, into a plain one."""
    if isinstance(held, Tensor):
        return held.detach().clone()
    return dict(held) if isinstance(held, dict) else set(held) if isinstance(held, set) else [*held]
