"""Write the tables and pictures of the documents from the rows of results.

python -m benchmarks.document
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.report import tables
from benchmarks.report.all_rows import AllRows
from benchmarks.report.error_tables import error_tables
from benchmarks.report.picked_pictures import draw_features, draw_picked
from benchmarks.report.picked_table import tables as picked_tables
from benchmarks.report.pictures import draw_errors, draw_memory, draw_sampler_time, draw_time
from benchmarks.report.sampler_guide import guide_table
from benchmarks.report.targets import targets

DOCS = Path(__file__).parent.parent / "docs"
BENCHMARKS, SAMPLERS = DOCS / "benchmarks.md", DOCS / "samplers.md"
# The tables of each document, by the name that marks their place.
Tables = Mapping[str, Callable[[], str]]


def main() -> None:
    rows = AllRows.read()
    for path, tables_of in DOCUMENTS.items():
        path.write_text(filled_in(path, tables_of(rows)))
    draw_memory(rows.paper, DOCS / "benchmarks_memory.png")
    draw_time(rows.time, DOCS / "benchmarks_time.png")
    draw_sampler_time(rows.sampler, DOCS / "benchmarks_samplers.png")
    draw_errors(rows.error, DOCS / "gradient_error.png")
    draw_picked(rows.picked, DOCS / "picked_items.png")
    draw_features(rows.picked, DOCS / "picked_features.png")


def benchmarks_tables(rows: AllRows) -> Tables:
    own = [row for row in rows.paper if row["table"] == "ours"]
    table_6 = [row for row in rows.paper if row["table"] == "6"]
    return {
        "targets": lambda: tables.targets_table(targets(rows)),
        "table 3": lambda: tables.table_3(rows.paper, rows.table_3_time),
        "table 5": lambda: tables.table_5(rows.paper),
        "table 6": lambda: tables.memory_table(table_6),
        "ours": lambda: tables.memory_table(own),
        "choices": lambda: tables.choices_table(rows.choice),
        "samplers": lambda: tables.samplers_table(rows.sampler),
        "picked": lambda: picked_tables(rows.picked),
        "time": lambda: tables.time_tables(rows.time),
    }


def samplers_tables(rows: AllRows) -> Tables:
    return {
        "guide": lambda: guide_table(rows.sampler, rows.error),
        "errors": lambda: error_tables(rows.error),
    }


DOCUMENTS = {BENCHMARKS: benchmarks_tables, SAMPLERS: samplers_tables}


def filled_in(path: Path, found: Tables) -> str:
    """Return the document with these tables at their marks."""
    text = path.read_text()
    for name, table in found.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.S)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"{path.name}: expected {begin} and {end} once, one after another.")
        filling = f"{begin}\n{table()}\n{end}"
        text = pattern.sub(lambda _, filling=filling: filling, text)
    return text


if __name__ == "__main__":
    main()
