"""What the sampler was meant to reach, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.measuring.rows import Row
from benchmarks.paper_tables import HEADLINE
from benchmarks.report.all_rows import AllRows
from benchmarks.report.target import Target

GB = 1e9
ONE_KEPT = "SGS, one kept graph"
_NO_GPU = "not measured: no GPU was at hand"


def targets(rows: AllRows) -> list[Target]:
    """Return all that concern the sampler, in order."""
    return [
        *_memory(rows.paper),
        *_operations(rows.paper),
        *_choices(rows.choice),
        *_time(rows.time),
    ]


def row_of(rows: Sequence[Row], table: str, name: str) -> Row:
    """Return the row of that name."""
    (found,) = [row for row in rows if (row["table"], row["name"]) == (table, name)]
    return found


def _memory(rows: Sequence[Row]) -> Iterator[Target]:
    for name, paper, limit in (
        ("16 per pass", "6.6 GB", 4.5),
        ("4 per pass", "3.8 GB", 1.75),
        ("1 per pass", "-", 1.0),
        ("16 per pass, checkpoint + mixed precision", "4.0 GB", 0.75),
        ("4 per pass, checkpoint + mixed precision", "-", 0.75),
        ("1 per pass, checkpoint + mixed precision", "-", 0.75),
    ):
        yield _at_most(f"peak memory, {name}", paper, row_of(rows, "ours", name), limit)
    few, many = (
        _encoder_bytes(row_of(rows, "ours", f"{number} snippets per video"))
        for number in ("128", "4,096")
    )
    growth = many / few - 1
    subject = "growth of memory from 128 to 4,096 streamed snippets per video, encoder side"
    yield Target(subject, "-", "≤ 2 %", f"{growth:.1%}", growth <= 0.02)
    headline = row_of(rows, "ours", HEADLINE)
    yield _at_most(f"{HEADLINE} of 16 frames, 224², fp32, AdamW", "-", headline, 8)
    gaps = [
        row["peak_bytes"] / GB / row["paper"]["memory"] - 1 for row in rows if row["table"] == "3"
    ]
    ours = f"{min(gaps):+.1%} to {max(gaps):+.1%}"
    subject = "dry run against the measurements of the paper's Tab. 3, alike settings"
    yield Target(subject, "0 %", "± 10 %", ours, max(map(abs, gaps)) <= 0.1)


def _at_most(subject: str, paper: str, row: Row, limit: float) -> Target:
    found = row["peak_bytes"] / GB
    return Target(subject, paper, f"≤ {limit} GB", f"{found:.2f} GB", found <= limit)


def _encoder_bytes(row: Row) -> int:
    """Return the peak without what grows by design: the features of all snippets."""
    return int(row["peak_bytes"] - row["bytes_by_category"]["features"])


def encoder_flops(row: Row) -> float:
    """Return the operations of the encoder, in both passes."""
    return float(row["flops"]["forward"] + row["flops"]["backward"])


def _operations(rows: Sequence[Row]) -> Iterator[Target]:
    naive = encoder_flops(row_of(rows, "3", "naive"))
    found = encoder_flops(row_of(rows, "ours", "16 per pass")) / naive
    subject = "operations at ratio 30 %, frozen stem cached, to naive"
    yield Target(subject, "80 %", "≤ 72 %", f"{found:.1%}", found <= 0.72)


def _choices(rows: Sequence[Row]) -> Iterator[Target]:
    for encoder in dict.fromkeys(row["size"]["encoder"] for row in rows):
        own = [row for row in rows if row["size"]["encoder"] == encoder]
        times = [row["chosen_to_best"][1] for row in own]
        parts = [row["chosen_peak_bytes"] / row["budget_bytes"] for row in own]
        yield Target(
            f"the choice of `memory_budget` on a CPU core, {encoder}: time to the best of all "
            "tried, and part of the budget, at two budgets",
            "-",
            "≤ 1.10, ≤ 100 %",
            f"{', '.join(f'{x:.3f}' for x in times)}; {', '.join(f'{x:.0%}' for x in parts)}",
            max(times) <= 1.1 and max(parts) <= 1,
        )


def _time(rows: Sequence[Row]) -> Iterator[Target]:
    subject = "GPU step time at ratio 100 / 30 / 10 %, to naive"
    yield Target(subject, "190 / 114 / 91 %", "≤ 135 / 80 / 65 %", _NO_GPU, None)
    wanted = {1.0: 1.35, 0.3: 0.8, 0.1: 0.65}
    fast = "SGS, frozen stem, one kept graph"
    for encoder in dict.fromkeys(row["size"]["encoder"] for row in rows):
        own = [row for row in rows if row["size"]["encoder"] == encoder]
        cells = {ratio: _relative(own, fast, ratio, "naive") for ratio in wanted}
        yield Target(
            f"the same on a CPU core, {encoder}, frozen stem and one kept graph",
            "-",
            "≤ 135 / 80 / 65 %",
            " / ".join(f"{100 * cell[1]:.0f}" for cell in cells.values()) + " %",
            all(cells[ratio][1] <= limit for ratio, limit in wanted.items()),
        )
        yield from _against_others(encoder, own)


def _against_others(encoder: str, rows: Sequence[Row]) -> Iterator[Target]:
    for reference, method, ratio, limit, what in (
        ("checkpoint", "SGS", 1.0, 1.0, "to per-micro-batch checkpoint"),
        ("GradCache", "SGS", 1.0, 1.0, "to GradCache"),
        ("checkpoint", ONE_KEPT, 1.0, 1.0, "with one kept graph, to per-micro-batch checkpoint"),
        ("GradCache", ONE_KEPT, 1.0, 1.0, "with one kept graph, to GradCache"),
        (
            "checkpoint behind stem",
            "SGS, frozen stem, one kept graph",
            1.0,
            1.0,
            "with frozen stem and one kept graph, to checkpoint that spares the stem",
        ),
        *(
            (
                "hand-written Alg. 1",
                "SGS",
                ratio,
                1.03,
                f"to hand-written Alg. 1, ratio {ratio:.0%}",
            )
            for ratio in (1.0, 0.3, 0.1)
        ),
    ):
        first, median, third = _relative(rows, method, ratio, reference)
        yield Target(
            f"CPU step time, {encoder}, {what}",
            "-",
            f"≤ {limit:.2f}",
            f"{median:.3f} ({first:.3f} to {third:.3f})",
            median <= limit,
        )


def _relative(rows: Sequence[Row], method: str, ratio: float, reference: str) -> list[float]:
    (row,) = [row for row in rows if (row["method"], row["ratio"]) == (method, ratio)]
    found: list[float] = row["relative_to"][reference]
    return found
