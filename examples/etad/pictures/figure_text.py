"""Fit names into the space that a figure has for them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

_POINTS_PER_INCH = 72


@contextmanager
def boxes_for_missing_glyphs() -> Iterator[None]:
    """Draw a box for a character that the font lacks, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def text_width_inch(text: str, *, size: float, weight: str = "normal") -> float:
    """Return how wide `text` is when drawn in the default font at `size` points."""
    font = FontProperties(size=size, weight=weight)
    with boxes_for_missing_glyphs():
        width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / _POINTS_PER_INCH


def shorten(text: str, width_inch: float, *, size: float, weight: str = "normal") -> str:
    """Return `text`, cut at its end until it is at most `width_inch` wide.

    Example:
        >>> shorten("Playing beach volleyball", 0.8, size=7)
        'Playing beach…'
    """
    shortened = text
    for length in range(len(text) - 1, -1, -1):
        if text_width_inch(shortened, size=size, weight=weight) <= width_inch:
            break
        shortened = f"{text[:length].rstrip()}…"
    return shortened
