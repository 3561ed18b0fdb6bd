"""The tables of how far sampled gradients are from full ones."""

from collections.abc import Iterator, Sequence

from benchmarks.measuring.rows import Row
from benchmarks.report.markdown import markdown


def error_tables(rows: Sequence[Row]) -> str:
    """Return one table per model, and what was measured on."""
    row = rows[0]
    conditions = (
        f"{row['num_videos']} videos of {row['num_snippets']} snippets, {row['draws']} draws of "
        f"each; torch {row['torch']}, commit {row['commit'][:7]}."
    )
    models = dict.fromkeys(row["model"] for row in rows)
    return "\n\n".join([*(error_table(model, rows) for model in models), conditions])


def error_table(model: str, rows: Sequence[Row]) -> str:
    """Return error and cosine by strategy, weights and ratio."""
    own = [row for row in rows if row["model"] == model]
    ratios = dict.fromkeys(row["ratio"] for row in own)
    head = (f"{model}: error (cosine)", "weights", *(f"{ratio:.0%}" for ratio in ratios))
    return markdown(head, _lines(own), names=2)


def _lines(rows: Sequence[Row]) -> Iterator[Sequence[str]]:
    for strategy, weights in dict.fromkeys((row["strategy"], row["weights"]) for row in rows):
        cells = [
            f"{row['error'][1]:.2f} ({row['cosine'][1]:.2f})"
            for row in rows
            if (row["strategy"], row["weights"]) == (strategy, weights)
        ]
        yield strategy, weights, *cells
