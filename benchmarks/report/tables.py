"""The tables of docs/benchmarks.md."""

from collections.abc import Iterable, Sequence

from benchmarks.measuring.rows import Row
from benchmarks.plan_choice import settings
from benchmarks.report.markdown import markdown
from benchmarks.report.sampler_targets import sampler_targets
from benchmarks.report.targets import GB, Target, encoder_flops, row_of
from benchmarks.training_steps.cases import HAND_WRITTEN
from sgs.planning.byte_size import readable_bytes


def targets_table(found: Iterable[Target]) -> str:
    head = ("", "paper (V100)", "target", "ours", "met")
    return markdown(head, (target.cells() for target in found))


def table_3(rows: Sequence[Row], time_rows: Sequence[Row]) -> str:
    head = (
        "", "FLOPs", "paper (V100)", "memory, GB", "paper (V100)", "time on a CPU", "paper (V100)",
    )  # fmt: skip
    naive = encoder_flops(row_of(rows, "3", "naive"))
    lines = []
    for row in rows:
        if row["table"] == "3":
            paper = row["paper"]
            lines.append(
                (
                    row["name"],
                    f"{encoder_flops(row) / naive:.0%}",
                    f"{paper['flops']} %",
                    f"{row['peak_bytes'] / GB:.1f}",
                    f"{paper['memory']}",
                    _time_of(row, time_rows),
                    f"{paper['time']} %",
                )
            )
    return f"{markdown(head, lines)}\n\n{conditions_of(time_rows[0])}"


def _time_of(row: Row, time_rows: Sequence[Row]) -> str:
    """Return the time of a row, to naive."""
    (timed,) = [timed for timed in time_rows if timed["method"] == row["name"]]
    return f"{timed['relative_to']['naive'][1]:.0%}"


def table_5(rows: Sequence[Row]) -> str:
    head = (
        "", "forward", "paper (V100)", "backward", "paper (V100)", "memory, GB", "paper (V100)",
    )  # fmt: skip
    lines = []
    for row in rows:
        if row["table"] == "5":
            paper = row["paper"]
            forward, backward = passes(row, naive=row_of(rows, "5", "naive"))
            lines.append(
                (
                    row["name"],
                    f"{forward:.0%}",
                    f"{paper['forward']} %",
                    f"{backward:.0%}",
                    f"{paper['backward']} %",
                    f"{row['peak_bytes'] / GB:.1f}",
                    f"{paper['memory']}",
                )
            )
    return markdown(head, lines)


def passes(row: Row, *, naive: Row) -> tuple[float, float]:
    """Return the operations of all forward and of all backward passes, each to naive.

    What is counted as backward holds the forward pass that is repeated in it.
    """
    forward, backward = naive["flops"]["forward"], naive["flops"]["backward"]
    if row["setting"]["method"] == "sgs":
        both = forward + backward
        repeated = row["flops"]["backward"] / both
        return row["flops"]["forward"] / forward + repeated, repeated
    # Several stages train one after the other, each as long as the first.
    times = row["paper"]["forward"] / 30 if row["name"] == "multi-stage training" else 1
    return (
        times * row["flops"]["forward"] / forward,
        times * row["flops"]["backward"] / backward,
    )


def memory_table(rows: Sequence[Row]) -> str:
    head = ("", "memory, GB", "paper (V100)", "FLOPs of the encoder, T")
    return markdown(
        head,
        (
            (
                row["name"],
                f"{row['peak_bytes'] / GB:.2f}",
                f"{row['paper'].get('memory', '-')}",
                f"{encoder_flops(row) / 1e12:.1f}",
            )
            for row in rows
        ),
    )


def choices_table(rows: Sequence[Row]) -> str:
    head = ("", "budget", "chosen", "its peak", "best of all tried", "time to its")
    lines = (
        (
            row["size"]["encoder"],
            readable_bytes(row["budget_bytes"]),
            settings(row["chosen"]),
            readable_bytes(row["chosen_peak_bytes"]),
            f"{settings(row['best'])} (of {row['num_tried']})",
            _spread(row["chosen_to_best"]),
        )
        for row in rows
    )
    return f"{markdown(head, lines)}\n\n{machine_of(rows[0])}"


def samplers_table(rows: Sequence[Row]) -> str:
    return f"{targets_table(sampler_targets(rows))}\n\n{machine_of(rows[0])}"


def time_tables(rows: Sequence[Row]) -> str:
    columns = ("naive", "checkpoint", "GradCache", HAND_WRITTEN)
    tables = []
    for encoder in dict.fromkeys(row["size"]["encoder"] for row in rows):
        own = [row for row in rows if row["size"]["encoder"] == encoder]
        head = (encoder, "ratio", "step, ms", *(f"to {name}" for name in columns))
        lines = [
            (
                row["method"],
                f"{row['ratio']:.0%}",
                f"{row['step_ms'][1]:.0f}",
                *(_spread(row["relative_to"][name]) for name in columns),
            )
            for row in own
        ]
        tables.append(f"{conditions_of(own[0])}\n\n{markdown(head, lines)}")
    return "\n\n".join(tables)


def conditions_of(row: Row) -> str:
    size = row["size"]
    return (
        f"{size['num_items']} snippets of {size['frames_per_snippet']} frames of "
        f"{size['frame_size']}², {size['micro_batch_size']} per pass, {size['frozen_stages']} "
        f"stages frozen; {machine_of(row)}"
    )


def machine_of(row: Row) -> str:
    return (
        f"{row['device']}, {row['threads']} thread, {row['dtype']}, torch {row['torch']}, "
        f"{row['rounds']} rounds, commit {row['commit'][:7]}"
        f"{' with changes' if row['is_dirty'] else ''}."
    )


def _spread(quartiles: Sequence[float]) -> str:
    first, median, third = quartiles
    return f"{median:.2f} ({first:.2f} to {third:.2f})"
