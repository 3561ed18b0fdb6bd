"""Tables of the documents, and the numbers in them."""

from collections.abc import Iterable, Sequence

from benchmarks.measuring.rows import Row


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]], *, names: int = 1) -> str:
    """Return a table whose first columns hold names and whose others hold numbers."""
    rule = ["---"] * names + ["---:"] * (len(head) - names)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


def spread(values: Sequence[float], *, digits: int = 2) -> str:
    """Return the second of three values, with the others as its range."""
    low, value, high = (f"{value:.{digits}f}" for value in values)
    return f"{value} ({low} to {high})"


def commit_of(row: Row) -> str:
    """Return what code was measured."""
    return f"commit {row['commit'][:7]}{' with changes' if row['is_dirty'] else ''}"


def machine_of(row: Row) -> str:
    """Return what was measured on."""
    return (
        f"{row['device']}, {row['threads']} thread, {row['dtype']}, torch {row['torch']}, "
        f"{row['rounds']} rounds, {commit_of(row)}."
    )
