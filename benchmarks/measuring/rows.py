"""Rows of results, one JSON file per script."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"

Row = dict[str, Any]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Replace the rows of a script, one row per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(_rounded(row)) for row in rows)
    path.write_text(f"[\n{lines}\n]\n")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a script; an empty list if it has not been run."""
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    return rows


def all_rows() -> dict[str, list[Row]]:
    """Return the rows in the repository, by the name of their file without its ending."""
    return {path.stem: read_rows(path) for path in RESULTS.glob("*.json")}


def _rounded(value: Any) -> Any:
    """Keep six digits: more would be noise."""
    match value:
        case float():
            return float(f"{value:.6g}")
        case dict():
            return {name: _rounded(entry) for name, entry in value.items()}
        case list() | tuple():
            return [_rounded(entry) for entry in value]
    return value
