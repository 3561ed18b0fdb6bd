"""Imports packages that need not be installed, and two of them without torchvision."""

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def imported(name: str) -> Any:
    """Import a module of one of the packages, whatever it warns of."""
    with warnings.catch_warnings(), nullcontext() if has_torchvision() else stand_in():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def has_torchvision() -> bool:
    """Whether it can be imported: wheels from PyPI fail beside a build of torch for the CPU."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        return False
    return True


@contextmanager
def stand_in() -> Iterator[None]:
    """Let imports of torchvision succeed, and leave nothing of it behind.

    timm and vit-pytorch import it at their top, for augmentation and for a class that they look for
    by `isinstance`. The models of the zoo do not use it.
    """
    finder = Finder()
    forget_torchvision()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        forget_torchvision()


def forget_torchvision() -> None:
    for name in [name for name in sys.modules if is_torchvision(name)]:
        del sys.modules[name]


def is_torchvision(name: str) -> bool:
    return name.split(".")[0] == "torchvision"


class Finder(MetaPathFinder, Loader):
    """Finds a stand-in for torchvision and for every module in it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if is_torchvision(name) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


class Empty(type):
    """The type of empty classes, whose attributes are empty classes again."""

    def __getattr__(cls, name: str) -> "Empty":
        return empty(name)


class StandIn(ModuleType):
    """A module whose every name is an empty class."""

    def __getattr__(self, name: str) -> Empty:
        return empty(name)


def empty(name: str) -> Empty:
    if name.startswith("__"):
        raise AttributeError(name)
    return Empty(name, (), {})
