"""A device that is not the CPU, on machines that have no other.

Tensors there hold one of the CPU, and say that they lie on "meta". As on an accelerator, operations
refuse tensors of two devices, and a generator draws for its own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("meta")


class Elsewhere(Tensor):
    """A tensor on the other device."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Elsewhere":
        made = Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=ELSEWHERE
        )
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    # These would ask "meta" for values that it does not have.
    def tolist(self) -> Any:
        return self.inner.tolist()

    def __getitem__(self, key: Any) -> "Elsewhere":
        return Elsewhere(self.inner[_inner(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.inner[_inner(key)] = _inner(value)

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class GeneratorElsewhere(torch.Generator):
    """A generator of the other device, with the numbers of the CPU's."""

    device = ELSEWHERE


class OtherDevice(TorchDispatchMode):
    """Makes new tensors on the device that is asked for.

    Args:
        generator_device: Where all generators are that anything is drawn from.
    """

    def __init__(self, generator_device: torch.device | None = None) -> None:
        super().__init__()
        self._generator_device = generator_device or torch.device("cpu")

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") and kwargs["device"] != self._generator_device:
            raise RuntimeError(f"{func}: expected the device of the generator")
        return _run(func, args, kwargs)


def _inner(tree: Any) -> Any:
    return tree_map(lambda x: x.inner if isinstance(x, Elsewhere) else x, tree)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    is_elsewhere = [isinstance(x, Elsewhere) for x in tensors]
    # Single numbers and positions may come from the CPU, but not go there.
    may_differ = "index" in func.name() and is_elsewhere[0]
    if any(is_elsewhere) and not may_differ:
        strays = [x for x in tensors if not isinstance(x, Elsewhere) and x.ndim]
        if strays:
            raise RuntimeError(f"{func}: expected all tensors on the same device")
    stays = any(is_elsewhere)
    if (device := kwargs.get("device")) is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
        stays = device == ELSEWHERE
    result = func(*_inner(args), **_inner(kwargs))
    if not stays:
        return result
    known = {id(x.inner): x for x in tensors if isinstance(x, Elsewhere)}
    return tree_map(
        lambda x: known.get(id(x), Elsewhere(x)) if isinstance(x, Tensor) else x, result
    )
