"""Targets for memory and time of the gradient sampler, and the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.measuring.rows import Row
from benchmarks.paper_tables import GB, LONG_VIDEO
from benchmarks.report.target import Target
from benchmarks.training_steps.cases import HAND_WRITTEN

FAST = "SGS, frozen stem, one kept graph"
ONE_KEPT = "SGS, one kept graph"
# The time of the sampler relative to the hand-written loop, by encoder of benchmarks/overhead.py.
OVERHEADS = {
    "320 tiny layers": 1.10,
    "vision transformer, 24 blocks": 1.05,
    "EfficientNet-B0": 1.03,
}
# (reference, method, ratio, limit, words of the line)
_COMPARED = (
    ("checkpoint", "SGS", 1.0, 1.0, "to per-micro-batch checkpoint"),
    ("GradCache", "SGS", 1.0, 1.0, "to GradCache"),
    ("checkpoint", ONE_KEPT, 1.0, 1.0, "with one kept graph, to per-micro-batch checkpoint"),
    ("GradCache", ONE_KEPT, 1.0, 1.0, "with one kept graph, to GradCache"),
    (
        "checkpoint behind stem",
        FAST,
        1.0,
        1.0,
        "with frozen stem and one kept graph, to checkpoint that spares the stem",
    ),
    *(
        (HAND_WRITTEN, "SGS", ratio, 1.03, f"to {HAND_WRITTEN}, ratio {ratio:.0%}")
        for ratio in (1.0, 0.3, 0.1)
    ),
)


def sgs_targets(rows: Mapping[str, Sequence[Row]]) -> Iterator[Target]:
    """Yield all targets, in order, from the rows by file."""
    yield from _memory(rows["paper_tables"])
    yield from _choices(rows["plan_choice"])
    yield from _times(rows["sgs_time_cpu"])
    for row in rows.get("overhead", ()):
        subject = f"CPU step time, {row['encoder']}, to {HAND_WRITTEN}, ratio 100%"
        limit = OVERHEADS[row["encoder"]]
        yield Target.at_most(subject, row["to_hand_written"], limit, digits=3)
    for row in rows.get("import_time", ()):
        subject = f"`import {row['package']}` beyond `import {row['after']}`, one CPU core"
        yield Target.at_most(subject, row["import_s"], 0.15, digits=3, unit=" s")


def row_of(rows: Sequence[Row], table: str, name: str) -> Row:
    """Return the row with this name."""
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
        yield _peak(f"peak memory, {name}", row_of(rows, "ours", name), limit, paper)
    yield _growth(rows)
    headline = row_of(rows, "ours", LONG_VIDEO)
    yield _peak(f"{LONG_VIDEO} of 16 frames, 224², fp32, AdamW", headline, 8)
    gaps = [
        row["peak_bytes"] / GB / row["paper"]["memory"] - 1 for row in rows if row["table"] == "3"
    ]
    ours = f"{min(gaps):+.1%} to {max(gaps):+.1%}"
    subject = "dry run against the measurements of the paper's Tab. 3, same settings"
    yield Target(subject, "± 10 %", ours, max(map(abs, gaps)) <= 0.1, "0 %")
    naive = encoder_flops(row_of(rows, "3", "naive"))
    found = encoder_flops(row_of(rows, "ours", "16 per pass")) / naive
    subject = "operations at ratio 30 %, frozen stem cached, to naive"
    yield Target(subject, "≤ 72 %", f"{found:.1%}", found <= 0.72, "80 %")


def _peak(subject: str, row: Row, limit: float, paper: str = "-") -> Target:
    found = row["peak_bytes"] / GB
    return Target(subject, f"≤ {limit} GB", f"{found:.2f} GB", found <= limit, paper)


def _growth(rows: Sequence[Row]) -> Target:
    """Compare peaks without the features of all snippets, which grow by design."""
    few, many = (
        row["peak_bytes"] - row["bytes_by_category"]["features"]
        for row in (row_of(rows, "ours", f"{n} snippets per video") for n in ("128", "4,096"))
    )
    growth = many / few - 1
    subject = "growth of memory from 128 to 4,096 streamed snippets per video, encoder side"
    return Target(subject, "≤ 2 %", f"{growth:.1%}", growth <= 0.02)


def encoder_flops(row: Row) -> float:
    """Return the operations of the encoder, in both passes."""
    return float(row["flops"]["forward"] + row["flops"]["backward"])


def _choices(rows: Sequence[Row]) -> Iterator[Target]:
    for encoder, own in by_encoder(rows).items():
        times = [row["chosen_to_best"][1] for row in own]
        parts = [row["chosen_peak_bytes"] / row["budget_bytes"] for row in own]
        yield Target(
            f"the choice of a `MemoryBudget` on a CPU core, {encoder}: time to the best of all "
            "tried, and part of the budget, at two budgets",
            "≤ 1.10, ≤ 100 %",
            f"{', '.join(f'{x:.3f}' for x in times)}; {', '.join(f'{x:.0%}' for x in parts)}",
            max(times) <= 1.1 and max(parts) <= 1,
        )


def _times(rows: Sequence[Row]) -> Iterator[Target]:
    subject, target = "GPU step time at ratio 100 / 30 / 10 %, to naive", "≤ 135 / 80 / 65 %"
    yield Target(subject, target, "not measured: no GPU was at hand", None, "190 / 114 / 91 %")
    for encoder, own in by_encoder(rows).items():
        times = [_relative(own, FAST, ratio, "naive")[1] for ratio in (1.0, 0.3, 0.1)]
        yield Target(
            f"the same on a CPU core, {encoder}, frozen stem and one kept graph",
            target,
            " / ".join(f"{100 * time:.0f}" for time in times) + " %",
            all(time <= limit for time, limit in zip(times, (1.35, 0.8, 0.65), strict=True)),
        )
        for reference, method, ratio, limit, words in _COMPARED:
            found = _relative(own, method, ratio, reference)
            subject = f"CPU step time, {encoder}, {words}"
            yield Target.at_most(subject, found, limit, digits=3)


def by_encoder(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each encoder, in order."""
    encoders = dict.fromkeys(row["size"]["encoder"] for row in rows)
    return {name: [row for row in rows if row["size"]["encoder"] == name] for name in encoders}


def _relative(rows: Sequence[Row], method: str, ratio: float, reference: str) -> list[float]:
    (row,) = [row for row in rows if (row["method"], row["ratio"]) == (method, ratio)]
    found: list[float] = row["relative_to"][reference]
    return found
