"""Tables of memory, operations and time of training steps."""

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.measuring.rows import Row
from benchmarks.paper_tables import GB
from benchmarks.report.markdown import machine_of, markdown, spread
from benchmarks.report.sgs_targets import by_encoder, encoder_flops, row_of
from benchmarks.training_steps.cases import HAND_WRITTEN
from sgs import readable_bytes

PAPER = "paper (V100)"
_MEMORY = ("peak_allocated_bytes", "peak_reserved_bytes", "predicted_bytes")


def table_3(rows: Sequence[Row], time_rows: Sequence[Row]) -> str:
    """Return operations, memory and time by K and by ratio."""
    head = ("", "FLOPs", PAPER, "memory, GB", PAPER, "time on a CPU", PAPER)
    naive = encoder_flops(row_of(rows, "3", "naive"))
    times = {row["method"]: row["relative_to"]["naive"][1] for row in time_rows}
    lines = (
        (
            row["name"],
            f"{encoder_flops(row) / naive:.0%}",
            f"{row['paper']['flops']} %",
            f"{row['peak_bytes'] / GB:.1f}",
            f"{row['paper']['memory']}",
            f"{times[row['name']]:.0%}",
            f"{row['paper']['time']} %",
        )
        for row in rows
        if row["table"] == "3"
    )
    return f"{markdown(head, lines)}\n\n{conditions_of(time_rows[0])}"


def table_5(rows: Sequence[Row]) -> str:
    """Return operations of both passes, and memory, beside other ways to save memory."""
    head = ("", "forward", PAPER, "backward", PAPER, "memory, GB", PAPER)
    return markdown(head, (_line_of_table_5(row, rows) for row in rows if row["table"] == "5"))


def _line_of_table_5(row: Row, rows: Sequence[Row]) -> Sequence[str]:
    forward, backward = passes(row, naive=row_of(rows, "5", "naive"))
    paper = row["paper"]
    return (
        row["name"],
        f"{forward:.0%}",
        f"{paper['forward']} %",
        f"{backward:.0%}",
        f"{paper['backward']} %",
        f"{row['peak_bytes'] / GB:.1f}",
        f"{paper['memory']}",
    )


def passes(row: Row, *, naive: Row) -> tuple[float, float]:
    """Return the operations of all forward and of all backward passes, each to naive.

    The dry run counts the repeated forward pass of SGS as part of the backward one.
    """
    forward, backward = naive["flops"]["forward"], naive["flops"]["backward"]
    if row["setting"]["method"] == "sgs":
        repeated = row["flops"]["backward"] / (forward + backward)
        return row["flops"]["forward"] / forward + repeated, repeated
    # Several stages train one after the other, each as long as the first.
    times = row["paper"]["forward"] / 30 if row["name"] == "multi-stage training" else 1
    return (
        times * row["flops"]["forward"] / forward,
        times * row["flops"]["backward"] / backward,
    )


def memory_table(rows: Sequence[Row], table: str) -> str:
    """Return memory and operations of one table."""
    head = ("", "memory, GB", PAPER, "FLOPs of the encoder, T")
    lines = (
        (
            row["name"],
            f"{row['peak_bytes'] / GB:.2f}",
            f"{row['paper'].get('memory', '-')}",
            f"{encoder_flops(row) / 1e12:.1f}",
        )
        for row in rows
        if row["table"] == table
    )
    return markdown(head, lines)


def choices_table(rows: Sequence[Row]) -> str:
    """Return the planner's choices beside the best ones."""
    head = ("", "budget", "chosen", "its peak", "best of all tried", "time to its")
    lines = (
        (
            row["size"]["encoder"],
            readable_bytes(row["budget_bytes"]),
            choice_text(row["chosen"]),
            readable_bytes(row["chosen_peak_bytes"]),
            f"{choice_text(row['best'])} (of {row['num_tried']})",
            spread(row["chosen_to_best"]),
        )
        for row in rows
    )
    return f"{markdown(head, lines)}\n\n{machine_of(rows[0])}"


def choice_text(choice: dict[str, Any]) -> str:
    return " / ".join(map(str, choice.values()))


def time_tables(rows: Sequence[Row]) -> str:
    """Return the table of each encoder, below its conditions."""
    return "\n\n".join(
        f"{conditions_of(own[0])}\n\n{time_table(encoder, own)}"
        for encoder, own in by_encoder(rows).items()
    )


def time_table(title: str, rows: Sequence[Row]) -> str:
    """Return step times, to those of other methods, and memory where it was measured."""
    references = ("naive", "checkpoint", "GradCache", HAND_WRITTEN)
    has_memory = any(row[name] is not None for row in rows for name in _MEMORY)
    memory = ["allocated, reserved, predicted GB"] * has_memory
    head = (title, "ratio", "step, ms", *(f"to {name}" for name in references), *memory)
    return markdown(head, _time_lines(rows, references, has_memory=has_memory))


def _time_lines(
    rows: Sequence[Row], references: Sequence[str], *, has_memory: bool
) -> Iterator[Sequence[str]]:
    for row in rows:
        step_ms = "out of memory" if row["is_out_of_memory"] else f"{row['step_ms'][1]:.0f}"
        ratios = [row["relative_to"].get(name) for name in references]
        cells = ["" if ratio is None else spread(ratio) for ratio in ratios]
        if has_memory:
            peaks = [row[name] for name in _MEMORY]
            cells.append(", ".join("-" if p is None else f"{p / GB:.2f}" for p in peaks))
        yield row["method"], f"{row['ratio']:.0%}", step_ms, *cells


def conditions_of(row: Row) -> str:
    """Return the size of a problem, and what was measured on."""
    size = row["size"]
    return (
        f"{size['num_items']} snippets of {size['frames_per_snippet']} frames of "
        f"{size['frame_size']}², {size['micro_batch_size']} per pass, {size['frozen_stages']} "
        f"stages frozen; {machine_of(row)}"
    )
