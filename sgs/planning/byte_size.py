"""Amounts of memory with units, such as "8GiB"."""

import math
import re

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_FACTORS = {
    **{unit: 1024**power for power, unit in enumerate(UNITS)},
    **{unit: 1000**power for power, unit in enumerate(("B", "kB", "MB", "GB", "TB"))},
    "KB": 1000,
}


def bytes_of(size: int | str) -> int:
    """Return the number of bytes of a number, or of a number with a unit.

    Raises:
        ValueError: If it is neither.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(size))
    unit = match and (match[2] or "B")
    if match is None or unit not in _FACTORS:
        raise ValueError(
            f"{size!r} is no amount of memory: expected a number of bytes, or one with a unit, as "
            f'in "6GiB" or "500 MB"; units are {", ".join(_FACTORS)}.'
        )
    return int(float(match[1]) * _FACTORS[unit])


def readable_bytes(size: int) -> str:
    """Return a number of bytes in the largest unit that makes it at least 1."""
    power = 0 if size == 0 else min(int(math.log2(size)) // 10, len(UNITS) - 1)
    return f"{size / 1024**power:.4g} {UNITS[power]}"
