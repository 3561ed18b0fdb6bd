"""Modules that a command line names."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import operator
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

_FORMS = "`module:callable` or `path/to/file.py:callable`"


def named_module(spec: str) -> nn.Module:
    """Return the module that something makes, without memory where that is possible.

    What cannot be built on the meta device is built in memory, with a word on stderr.

    Args:
        spec: `module:callable` or `path/to/file.py:callable`. What is called takes no arguments;
            a module is returned as it is.

    Raises:
        ArgumentTypeError: If it names nothing, or nothing that makes a module.
    """
    found = _found(spec)
    if isinstance(found, nn.Module):
        return found
    _check_callable(found, spec)
    try:
        with torch.device("meta"):
            made = found()
    except (RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        sys.stderr.write(f"{spec} is built in memory, since the meta device refuses: {reason}\n")
        made = None
    # Not in the handler above: what fails here too is the caller's own error, and shown as such.
    made = found() if made is None else made
    if not isinstance(made, nn.Module):
        raise ArgumentTypeError(
            f"{spec!r}: expected what makes an nn.Module, got a {type(made).__name__} from it."
        )
    return made


def _found(spec: str) -> Any:
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise ArgumentTypeError(f"{spec!r}: expected {_FORMS}.")
    module = _from_file(Path(place)) if place.endswith(".py") else _imported(place)
    try:
        return operator.attrgetter(name)(module)
    except AttributeError as error:
        names = ", ".join(x for x, y in vars(module).items() if x[0] != "_" and callable(y))
        raise ArgumentTypeError(
            f"{spec!r}: {place} has no {name!r}; it has {names or 'nothing to call'}."
        ) from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ArgumentTypeError(f"there is no file {str(path)!r}. Name {_FORMS}.")
    name = f"_named_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ArgumentTypeError(
            f"there is no module {name!r} (no {error.name!r}). Name {_FORMS}, and call the command "
            "from the folder that the module lies in, or where it is installed."
        ) from error


def _check_callable(found: Any, spec: str) -> None:
    if not callable(found):
        raise ArgumentTypeError(
            f"{spec!r}: expected what makes an nn.Module when it is called, got a "
            f"{type(found).__name__}."
        )
    try:
        signature = inspect.signature(found)
    except ValueError:  # what is written in C may have none
        return
    try:
        signature.bind()
    except TypeError as error:
        raise ArgumentTypeError(
            f"{spec!r} takes {signature}, and is called without arguments ({error}). Write a "
            "function that fills them in, in a file of its own."
        ) from error
