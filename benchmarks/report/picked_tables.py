"""Tables of the items that each strategy picks."""

from collections.abc import Sequence

from benchmarks.measuring.rows import Row
from benchmarks.report.markdown import commit_of, markdown, spread

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


def picked_tables(rows: Sequence[Row]) -> str:
    """Return the tables of snippets and of proposals, and the conditions."""
    snippets = [row for row in rows if row["what"] == "snippets"]
    proposals = [row for row in rows if row["what"] == "proposals"]
    distances = [column for column, _ in SNIPPET_DISTANCES.values()]
    row = snippets[1]
    return "\n\n".join(
        (
            markdown(
                (_items(snippets), *SNIPPET_SHARES.values(), *distances),
                ([*_shares(row, SNIPPET_SHARES), *_distances(row)] for row in snippets),
            ),
            markdown(
                (_items(proposals), *PROPOSAL_SHARES.values()),
                (_shares(row, PROPOSAL_SHARES) for row in proposals),
            ),
            f"{row['num_videos']} videos, {row['draws']} draws of each; {row['device']}, "
            f"torch {row['torch']}, {commit_of(row)}.",
        )
    )


def _items(rows: Sequence[Row]) -> str:
    return f"{rows[1]['count']} of {rows[1]['num_items']:,} {rows[1]['what']}"


def _shares(row: Row, names: dict[str, str]) -> list[str]:
    cells = []
    for name in names:
        share = f"{row['measures'][name][1]:.1%}"
        ratio = row["to_all"][name] if "to_all" in row else None
        cells.append(share if ratio is None else f"{share}: {spread(ratio)}")
    return [row["strategy"], *cells]


def _distances(row: Row) -> list[str]:
    if row["strategy"] == "all":
        return ["-"] * len(SNIPPET_DISTANCES)
    return [spread(row[to][name]) for name, (_, to) in SNIPPET_DISTANCES.items()]
