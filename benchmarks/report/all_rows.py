"""The rows of all scripts, as they are committed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import (
    gradient_error,
    paper_tables,
    picked_items,
    plan_choice,
    sampler_time,
    sgs_time,
    table_3_time,
)
from benchmarks.measuring.rows import Row, read_rows


@dataclass(frozen=True)
class AllRows:
    """What the documents are made of.

    Attributes:
        paper: Of the paper's tables, by dry run.
        time: Of steps, to other methods.
        table_3_time: Of steps, in the settings of table 3.
        choice: Of the planner's choices.
        sampler: Of drawing samples.
        picked: Of what is drawn.
        error: Of the sampled gradient.
    """

    paper: Sequence[Row]
    time: Sequence[Row]
    table_3_time: Sequence[Row]
    choice: Sequence[Row]
    sampler: Sequence[Row]
    picked: Sequence[Row]
    error: Sequence[Row]

    @classmethod
    def read(cls) -> AllRows:
        """Return the rows of a CPU core."""
        return cls(
            paper=read_rows(paper_tables.RESULT),
            time=read_rows(sgs_time.result_of("cpu")),
            table_3_time=read_rows(table_3_time.result_of("cpu")),
            choice=read_rows(plan_choice.RESULT),
            sampler=read_rows(sampler_time.result_of("cpu")),
            picked=read_rows(picked_items.RESULT),
            error=read_rows(gradient_error.RESULT),
        )
