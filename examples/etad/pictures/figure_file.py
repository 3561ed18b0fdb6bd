"""Write a figure to disk: whole or not at all, and the same bytes for the same picture."""

import os
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from examples.etad.pictures.figure_text import boxes_for_missing_glyphs

# Otherwise the time of writing is in the file.
_METADATA = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """Return an empty figure that pyplot does not know about."""
    figure = Figure(figsize=(width_inch, height_inch))
    FigureCanvasAgg(figure)
    return figure


def check_figure_path(caller: str, path: str | os.PathLike[str]) -> Path:
    """Return `path`, or raise in the name of `caller` if its suffix is not .png, .pdf or .svg."""
    checked = Path(path)
    if checked.suffix.lower() not in _METADATA:
        raise ValueError(
            f"{caller}(path={str(path)!r}): expected a name ending in one of "
            f"{', '.join(_METADATA)}, got {checked.suffix!r}. The suffix chooses the format."
        )
    return checked


def save_figure(figure: Figure, path: Path) -> None:
    """Write `figure` under another name, then rename, so that nobody reads half a file."""
    suffix = path.suffix.lower()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are readable by the owner alone, and stay so after the rename.
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{suffix}")
    try:
        # TrueType, not the Type 3 fonts that many venues refuse; and reproducible ids in SVG.
        settings = mpl.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "etad"})
        with boxes_for_missing_glyphs(), settings:
            figure.savefig(unfinished, format=suffix[1:], dpi=200, metadata=_METADATA[suffix])
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
