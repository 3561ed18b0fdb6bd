"""The tables of what each strategy picks."""

from collections.abc import Sequence

from benchmarks.measuring.rows import Row
from benchmarks.report.markdown import markdown

SNIPPET_SHARES = {"foreground": "in an action", "hard_negatives": "hard negatives"}
SNIPPET_DISTANCES = {
    "from_mean": ("from the mean, to all", "to_all"),
    "to_nearest": ("to the nearest picked, to Random", "to_random"),
    "to_farthest": ("the farthest of these, to Random", "to_random"),
}
PROPOSAL_SHARES = {
    "high_tiou": "tIoU ≥ 0.7",
    "short": "short, < 0.3",
    "medium": "medium",
    "long": "long, ≥ 0.7",
}


def tables(rows: Sequence[Row]) -> str:
    """Return both tables, and what was measured how."""
    snippets = [row for row in rows if row["what"] == "snippets"]
    proposals = [row for row in rows if row["what"] == "proposals"]
    found = (snippets_table(snippets), proposals_table(proposals), conditions_of(snippets[1]))
    return "\n\n".join(found)


def snippets_table(rows: Sequence[Row]) -> str:
    columns = [column for column, _ in SNIPPET_DISTANCES.values()]
    head = (_items(rows), *SNIPPET_SHARES.values(), *columns)
    return markdown(head, ([*_shares(row, SNIPPET_SHARES), *_distances(row)] for row in rows))


def proposals_table(rows: Sequence[Row]) -> str:
    head = (_items(rows), *PROPOSAL_SHARES.values())
    return markdown(head, (_shares(row, PROPOSAL_SHARES) for row in rows))


def conditions_of(row: Row) -> str:
    return (
        f"{row['num_videos']} videos, {row['draws']} draws of each; {row['device']}, torch "
        f"{row['torch']}, commit {row['commit'][:7]}{' with changes' if row['is_dirty'] else ''}."
    )


def _items(rows: Sequence[Row]) -> str:
    return f"{rows[1]['count']} of {rows[1]['num_items']:,} {rows[1]['what']}"


def _shares(row: Row, names: dict[str, str]) -> list[str]:
    cells = []
    for name in names:
        share = f"{row['measures'][name][1]:.1%}"
        ratio = row["to_all"][name] if "to_all" in row else None
        cells.append(share if ratio is None else f"{share}: {_interval(ratio)}")
    return [row["strategy"], *cells]


def _distances(row: Row) -> list[str]:
    if row["strategy"] == "all":
        return ["-"] * len(SNIPPET_DISTANCES)
    return [_interval(row[to][name]) for name, (_, to) in SNIPPET_DISTANCES.items()]


def _interval(values: Sequence[float]) -> str:
    low, value, high = values
    return f"{value:.2f} ({low:.2f} to {high:.2f})"
