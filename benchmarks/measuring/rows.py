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
    rounded = json.loads(json.dumps(rows), parse_float=_six_digits)
    lines = ",\n".join(json.dumps(row) for row in rounded)
    path.write_text(f"[\n{lines}\n]\n")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a script; an empty list if it has not been run."""
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    return rows


def all_rows() -> dict[str, list[Row]]:
    """Return the rows in the repository, by the name of their file without its ending."""
    return {path.stem: read_rows(path) for path in RESULTS.glob("*.json")}


def _six_digits(number: str) -> float:
    """More digits would be noise."""
    return float(f"{float(number):.6g}")
