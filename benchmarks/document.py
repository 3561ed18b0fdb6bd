"""Write the tables and pictures of the documents from the rows of results.

python -m benchmarks.document
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measuring.conditions import ROOT
from benchmarks.measuring.rows import Row, all_rows
from benchmarks.report import step_tables
from benchmarks.report.error_tables import error_tables
from benchmarks.report.markdown import machine_of
from benchmarks.report.picked_pictures import draw_features, draw_picked
from benchmarks.report.picked_tables import picked_tables
from benchmarks.report.pictures import draw_errors, draw_memory, draw_sampler_time, draw_time
from benchmarks.report.sampler_guide import guide_table
from benchmarks.report.sampler_targets import sampler_targets
from benchmarks.report.sgs_targets import sgs_targets
from benchmarks.report.target import targets_table

DOCS = ROOT / "docs"
BENCHMARKS, SAMPLERS = DOCS / "benchmarks.md", DOCS / "samplers.md"
# Rows by the name of their file.
Rows = Mapping[str, Sequence[Row]]
PICTURES = {
    "benchmarks_memory.png": (draw_memory, "paper_tables"),
    "benchmarks_time.png": (draw_time, "sgs_time_cpu"),
    "benchmarks_samplers.png": (draw_sampler_time, "sampler_time_cpu"),
    "gradient_error.png": (draw_errors, "gradient_error"),
    "picked_items.png": (draw_picked, "picked_items"),
    "picked_features.png": (draw_features, "picked_items"),
}


def main() -> None:
    rows = all_rows()
    for path, tables_of in DOCUMENTS.items():
        path.write_text(filled_in(path, tables_of(rows)))
    for picture, (draw, name) in PICTURES.items():
        draw(rows[name], DOCS / picture)


def benchmarks_tables(rows: Rows) -> dict[str, str]:
    """Return the tables of docs/benchmarks.md by the names of their marks."""
    paper, sampler = rows["paper_tables"], rows["sampler_time_cpu"]
    return {
        "targets": targets_table(sgs_targets(rows)),
        "table 3": step_tables.table_3(paper, rows["table_3_time_cpu"]),
        "table 5": step_tables.table_5(paper),
        "table 6": step_tables.memory_table(paper, "6"),
        "ours": step_tables.memory_table(paper, "ours"),
        "choices": step_tables.choices_table(rows["plan_choice"]),
        "samplers": f"{targets_table(sampler_targets(sampler))}\n\n{machine_of(sampler[0])}",
        "picked": picked_tables(rows["picked_items"]),
        "time": step_tables.time_tables(rows["sgs_time_cpu"]),
    }


def samplers_tables(rows: Rows) -> dict[str, str]:
    """Return the tables of docs/samplers.md by the names of their marks."""
    return {
        "guide": guide_table(rows["sampler_time_cpu"], rows["gradient_error"]),
        "errors": error_tables(rows["gradient_error"]),
    }


DOCUMENTS = {BENCHMARKS: benchmarks_tables, SAMPLERS: samplers_tables}


def filled_in(path: Path, tables: Mapping[str, str]) -> str:
    """Return the document with these tables at their marks."""
    text = path.read_text()
    for name, table in tables.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, _, rest = text.partition(f"{begin}\n")
        _, found, after = rest.partition(end)
        if not found or begin in after:
            raise ValueError(f"{path.name}: expected {begin} and {end} once, one after another.")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


if __name__ == "__main__":
    main()
