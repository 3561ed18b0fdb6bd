"""Layers that stay in eval mode."""

from functools import cache
from typing import Any

from torch import nn


class InEvalMode(nn.Module):
    """The first base of a layer that stays in eval mode; the second is the class it had."""

    _had: type

    def train(self, mode: bool = True) -> "InEvalMode":
        """Set the mode of the layers in this one only."""
        super().train(mode)
        self.training = False
        return self

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Tell copy and pickle, which cannot look the class up by its name, to make it again."""
        state = self.__getstate__()  # type: ignore[no-untyped-call]
        return _empty, (self._had,), state


def keep_in_eval_mode(layer: nn.Module) -> None:
    """Put a layer into eval mode for good.

    Only its class changes, to one derived from it. Its parameters, state-dict keys, hooks and
    attributes stay, and `isinstance` answers as before.
    """
    if not isinstance(layer, InEvalMode):
        had: type = type(layer)
        layer.__class__ = _derived(had)
    layer.training = False


@cache
def _derived(had: type) -> type:
    return type(f"Frozen{had.__name__}", (InEvalMode, had), {"_had": had})


def _empty(had: type) -> nn.Module:
    layer: nn.Module = object.__new__(_derived(had))
    return layer
