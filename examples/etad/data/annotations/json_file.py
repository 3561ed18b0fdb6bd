"""Reading an ActivityNet-format annotation file."""

import json
from collections import Counter
from pathlib import Path
from typing import Any


def read_database(json_path: Path) -> dict[str, dict[str, Any]]:
    """Return the entry of each video, by video id, in the order of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, has no "database" of entries, or names a video twice.
    """
    json_path = Path(json_path)
    if not json_path.is_file():
        raise FileNotFoundError(
            f"read_database(json_path={str(json_path)!r}): there is no such file. Check the path."
        )
    try:
        content = json.loads(
            json_path.read_text(encoding="utf-8"), object_pairs_hook=_without_duplicates
        )
    except ValueError as error:
        raise ValueError(
            f"read_database(json_path={str(json_path)!r}): expected JSON in UTF-8, got a file that "
            f"cannot be parsed: {error}."
        ) from error
    database = content.get("database") if isinstance(content, dict) else None
    if not isinstance(database, dict) or not all(isinstance(e, dict) for e in database.values()):
        raise ValueError(
            f"read_database(json_path={str(json_path)!r}): expected the ActivityNet format, an "
            'object with a key "database" that maps each video id to an object. See the README '
            "for an example."
        )
    return database


def class_names(json_path: Path) -> tuple[str, ...]:
    """Return the labels that occur anywhere in the file, sorted.

    All subsets count, so that classes have the same numbers in training and evaluation.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not in the ActivityNet format, or an annotation has no label.
    """
    database = read_database(json_path)
    try:
        labels = {a["label"] for entry in database.values() for a in entry.get("annotations", [])}
        return tuple(sorted(labels))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"class_names(json_path={str(json_path)!r}): expected a label, a string, for every "
            "annotation. load_annotations names the videos that have none."
        ) from error


def entries_of(
    database: dict[str, dict[str, Any]], subset: str, *, json_path: Path
) -> dict[str, dict[str, Any]]:
    """Return the entries of one subset.

    Raises:
        ValueError: If an entry has no subset, or none has this one.
    """
    homeless = [video_id for video_id, entry in database.items() if "subset" not in entry]
    if homeless:
        raise ValueError(
            f"load_annotations(json_path={str(json_path)!r}): expected a subset for every video; "
            f"missing for {', '.join(map(repr, homeless))}."
        )
    chosen = {video_id: entry for video_id, entry in database.items() if entry["subset"] == subset}
    if not chosen:
        counts = Counter(str(entry["subset"]) for entry in database.values())
        present = ", ".join(f"{name!r} ({count} videos)" for name, count in sorted(counts.items()))
        raise ValueError(
            f"load_annotations(subset={subset!r}): expected a subset of {json_path}, which has "
            f"{present or 'no videos'}."
        )
    return chosen


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a repeated key: the parser would silently keep the last value."""
    counts = Counter(key for key, _ in pairs)
    repeated = [key for key, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(f"keys that occur more than once: {', '.join(map(repr, repeated))}")
    return dict(pairs)
