"""Rows of results, one JSON file per script."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"

Row = dict[str, Any]


def write_rows(path: Path, rows: list[Row]) -> None:
    """Replace the rows of a script, one row a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(_rounded(row)) for row in rows)
    path.write_text(f"[\n{lines}\n]\n")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a script; none if it has not been run."""
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    return rows


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
