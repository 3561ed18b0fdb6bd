"""Modules that a command line names."""

from __future__ import annotations

import importlib
import inspect
import operator
import runpy
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

_FORMS = "`module:callable` or `path/to/file.py:callable`"


def named_module(spec: str) -> nn.Module:
    """Return the module that something builds, on the meta device where possible.

    What the meta device refuses is built in memory, with a message on stderr.

    Args:
        spec: `module:callable` or `path/to/file.py:callable`. The callable takes no arguments; a
            module is returned as it is.

    Raises:
        ArgumentTypeError: If the name does not exist, or is no module and builds none.
    """
    named = _named(spec)
    if isinstance(named, nn.Module):
        return named
    _check_callable(named, spec)
    try:
        with torch.device("meta"):
            built = named()
    except (RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        sys.stderr.write(f"{spec} is built in memory, since the meta device refuses: {reason}\n")
        built = None
    # Outside of the handler: an error of the second try is the user's own, and is shown alone.
    built = named() if built is None else built
    if not isinstance(built, nn.Module):
        raise ArgumentTypeError(
            f"{spec!r} builds a {type(built).__name__}: expected an nn.Module. Return the encoder."
        )
    return built


def _named(spec: str) -> Any:
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise ArgumentTypeError(f"{spec!r}: expected {_FORMS}.")
    names = _names_in_file(place) if place.endswith(".py") else _names_in_module(place)
    try:
        return operator.attrgetter(name)(SimpleNamespace(**names))
    except AttributeError as error:
        callables = ", ".join(x for x, y in names.items() if x[0] != "_" and callable(y))
        raise ArgumentTypeError(
            f"{spec!r}: {place} has no {name!r}; it has {callables or 'nothing to call'}."
        ) from error


def _names_in_file(path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise ArgumentTypeError(f"there is no file {path!r}. Name {_FORMS}.")
    return runpy.run_path(path)


def _names_in_module(name: str) -> dict[str, Any]:
    try:
        return vars(importlib.import_module(name))
    except ModuleNotFoundError as error:
        # Another module that is missing is an error in the user's own.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ArgumentTypeError(
            f"there is no module {name!r} (no {error.name!r}). Name {_FORMS}, and run the command "
            "in the module's folder, or where it is installed."
        ) from error


def _check_callable(named: Any, spec: str) -> None:
    try:
        inspect.signature(named).bind()
    except TypeError as error:
        raise ArgumentTypeError(
            f"{spec!r}: expected an nn.Module, or a function without arguments that builds one "
            f"({error}). Write such a function in a file of its own."
        ) from error
    except ValueError:  # callables written in C may have no signature
        pass
