"""Whether two values are the same, however they were made."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection
from numbers import Number
from types import NoneType
from typing import Any
from weakref import ProxyTypes

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

PLAIN = frozenset((NoneType, bool, int, float, str))
CONTAINERS = (dict, list, set, deque)
# Nearly all are of these types, which are found faster.
FREQUENT = frozenset((*CONTAINERS, OrderedDict))


def version_of(tensor: Tensor) -> int:
    """Return how often torch saw the tensor changed in place."""
    # Inference tensors have no version; they cannot be changed in place outside of inference mode.
    return 0 if tensor.is_inference() else tensor._version


def are_equal(a: Tensor, b: Tensor) -> bool:
    """Tell whether two tensors are equal, NaN included; True if they cannot be compared."""
    try:
        if a is b or a.shape != b.shape or a.dtype != b.dtype:
            return a is b
        return torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all())
    except (NotImplementedError, RuntimeError):  # e.g. sparse, nested, meta or sub-byte tensors
        return True


def absolute_difference(
    got: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"],
    expected: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"],
) -> Float[Tensor, "*shape"]:
    """Return the absolute difference of each number from the expected one.

    It is 0 for equal infinities and for NaN in both, and infinite for NaN in one.
    """
    equal = (got == expected) | (got.isnan() & expected.isnan())
    return (got - expected).abs().nan_to_num(nan=torch.inf).masked_fill(equal, 0)


def are_same(a: Any, b: Any) -> bool:
    """Tell whether two values are equal. Objects are if their values are, at the first level."""
    # issubclass(), because isinstance() fails on a weak proxy whose object is gone.
    kind: Any = type(a)
    if a is b or kind is not type(b) or issubclass(kind, nn.Module):
        return a is b
    if issubclass(kind, ProxyTypes):
        return True
    if issubclass(kind, Tensor):
        return are_equal(a, b)
    if issubclass(kind, Number | str | bytes | set):
        return bool(a == b or (a != a and b != b))
    if hasattr(kind, "tobytes"):  # arrays of NumPy
        return (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())
    try:
        if issubclass(kind, dict):
            return a.keys() == b.keys() and all(are_same(a[key], b[key]) for key in a)
        if issubclass(kind, Collection):
            return len(a) == len(b) and all(map(are_same, a, b))
    except RecursionError:  # a container that holds itself
        return True
    return not has_attributes(kind) or are_same(_values_of(a), _values_of(b))


def _values_of(instance: Any) -> dict[str, Any]:
    return {name: x for name, x in vars(instance).items() if is_value(type(x))}


def is_container(kind: Any) -> bool:
    """Tell whether a type is one of the containers whose content is put back."""
    return kind in FREQUENT or issubclass(kind, CONTAINERS)


def is_value(kind: Any) -> bool:
    """Tell whether a type is one of values and containers, rather than of other objects."""
    return issubclass(kind, (*PLAIN, *CONTAINERS, tuple, Tensor, Number)) or hasattr(
        kind, "tobytes"
    )


def has_attributes(kind: Any) -> bool:
    """Tell whether objects of a type are plain ones: no classes, functions or parts of torch."""
    package = kind.__module__.partition(".")[0]
    is_foreign = package not in ("builtins", "torch", "functools", "weakref", "threading", "sgs")
    return is_foreign and not issubclass(kind, type) and bool(kind.__dictoffset__)
