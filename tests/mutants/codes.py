"""The compiled functions of a module."""

import warnings
from collections.abc import Iterator
from types import CodeType


def codes_of(text: str, path: str) -> list[CodeType]:
    """Return the code of every function and class of a module, also of those inside others."""
    with warnings.catch_warnings():
        # What is changed may be as odd as `1[0]`.
        warnings.simplefilter("ignore", SyntaxWarning)
        return list(_inside(compile(text, path, "exec")))


def _inside(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inside(constant)
