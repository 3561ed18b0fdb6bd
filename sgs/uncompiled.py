"""A decorator that keeps a function out of the graphs of torch.compile."""

import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

_disabled = cache(torch.compiler.disable)


def uncompiled(function: Callable[P, R]) -> Callable[P, R]:
    """Do what `torch.compiler.disable` does, but do not import the compiler.

    Importing it takes longer than importing the rest of torch, and most programs never compile.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        is_loaded = "torch._dynamo" in sys.modules
        run: Callable[P, R] = _disabled(function) if is_loaded else function
        return run(*args, **kwargs)

    return call
