"""Tables of the distance between sampled and full gradients."""

from collections.abc import Sequence

from benchmarks.measuring.rows import Row
from benchmarks.report.markdown import commit_of, markdown


def error_tables(rows: Sequence[Row]) -> str:
    """Return one table per model, and the conditions."""
    row = rows[0]
    conditions = (
        f"{row['num_videos']} videos of {row['num_snippets']} snippets, {row['draws']} draws of "
        f"each; torch {row['torch']}, {commit_of(row)}."
    )
    models = dict.fromkeys(row["model"] for row in rows)
    return "\n\n".join([*(error_table(model, rows) for model in models), conditions])


def error_table(model: str, rows: Sequence[Row]) -> str:
    """Return error and cosine by strategy, weights and ratio."""
    lines: dict[tuple[str, str], list[str]] = {}
    own = [row for row in rows if row["model"] == model]
    for row in own:
        cells = lines.setdefault((row["strategy"], row["weights"]), [])
        cells.append(f"{row['error'][1]:.2f} ({row['cosine'][1]:.2f})")
    ratios = dict.fromkeys(f"{row['ratio']:.0%}" for row in own)
    head = (f"{model}: error (cosine)", "weights", *ratios)
    return markdown(head, ([*names, *cells] for names, cells in lines.items()), names=2)
