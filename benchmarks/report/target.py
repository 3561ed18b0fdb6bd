"""A target and its result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.report.markdown import markdown, spread


@dataclass(frozen=True)
class Target:
    """One target.

    Attributes:
        subject: What is measured.
        target: The limit, in words.
        ours: The result.
        is_met: Whether the result keeps the limit; None if nothing was measured.
        paper: The figure of the paper, measured on a V100.
    """

    subject: str
    target: str
    ours: str
    is_met: bool | None
    paper: str = "-"

    @classmethod
    def at_most(
        cls,
        subject: str,
        found: Sequence[float] | None,
        limit: float,
        *,
        digits: int,
        unit: str = "",
    ) -> Target:
        """Compare a median, given with its quartiles, with an upper limit."""
        target = f"≤ {limit:.{digits - 1}f}{unit}"
        if found is None:
            return cls(subject, target, "not measured", None)
        return cls(subject, target, spread(found, digits=digits) + unit, found[1] <= limit)


def targets_table(targets: Iterable[Target]) -> str:
    """Return one line per target."""
    verdicts = {True: "yes", False: "**no**", None: "open"}
    head = ("", "paper (V100)", "target", "ours", "met")
    return markdown(
        head, ((t.subject, t.paper, t.target, t.ours, verdicts[t.is_met]) for t in targets)
    )
