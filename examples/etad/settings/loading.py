"""From a TOML file and `--set` overrides to the settings of a run."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from examples.etad.settings.config import PRESETS, Config

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Settings = TypeVar("_Settings", bound="DataclassInstance")


def load_config(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read the settings of a run.

    Args:
        path: A TOML file. Its key `preset` names an entry of `PRESETS` that the others change;
            "official" if left out.
        overrides: `section.key=value`, applied last; values as in TOML, quotes may be left out.

    Raises:
        ValueError: If the file is no TOML, a key is unknown, or a value does not fit it.
    """
    try:
        tree = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not valid TOML: {error}.") from error
    return override(config_from(tree), overrides)


def override(config: Config, overrides: Iterable[str]) -> Config:
    """Return the settings with some values replaced.

    Args:
        config: Settings to start from.
        overrides: `section.key=value`; values as in TOML, quotes may be left out.

    Raises:
        ValueError: If an override has no such form, a key is unknown, or a value does not fit it.
    """
    tree: dict[str, Any] = {}
    for text in overrides:
        _apply(tree, text)
    return _replace(config, tree, "")


def config_from(tree: Mapping[str, Any]) -> Config:
    """Build the settings from nested dictionaries, as `to_dict` returns them.

    Raises:
        ValueError: If a key is unknown, or a value does not fit it.
    """
    preset = tree.get("preset", "official")
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r}: expected one of {sorted(PRESETS)}.")
    changes = {section: values for section, values in tree.items() if section != "preset"}
    return _replace(PRESETS[preset], changes, "")


def to_dict(config: Config) -> dict[str, Any]:
    """Return nested dictionaries of numbers, strings and lists."""
    return dataclasses.asdict(config)


def _apply(tree: dict[str, Any], assignment: str) -> None:
    path, separator, text = assignment.partition("=")
    *sections, key = path.strip().split(".")
    if not separator or len(sections) != 1:
        raise ValueError(f"--set {assignment}: expected section.key=value, e.g. train.epochs=2.")
    tree.setdefault(sections[0], {})[key] = _parse(text.strip())


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _replace(config: _Settings, changes: Mapping[str, Any], prefix: str) -> _Settings:
    hints = get_type_hints(type(config))
    values = {}
    for key, value in changes.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=3) or sorted(hints)
            raise ValueError(f"{prefix}{key}: unknown key. Did you mean {' or '.join(near)}?")
        if dataclasses.is_dataclass(hints[key]):
            if not isinstance(value, Mapping):
                raise ValueError(f"{prefix}{key}={value!r}: expected a table of settings.")
            values[key] = _replace(getattr(config, key), value, f"{prefix}{key}.")
        else:
            values[key] = _convert(value, hints[key], f"{prefix}{key}")
    return dataclasses.replace(config, **values)


def _convert(value: Any, kind: Any, name: str) -> Any:
    if get_origin(kind) is Literal:
        fits = value in get_args(kind)
    elif get_origin(kind) is tuple:
        fits = isinstance(value, list | tuple)
        value = tuple(value) if fits else value
    elif kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        value = float(value) if fits else value
    else:
        fits = type(value) is kind
    if not fits:
        expected = kind.__name__ if kind in (int, float, str, bool) else str(kind)
        raise ValueError(f"{name}={value!r}: expected {expected.removeprefix('typing.')}.")
    return value
