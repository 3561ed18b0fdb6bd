"""docs/exactness.md: its tests exist, its blocks run, its table is what the tests expect."""

import re
from pathlib import Path

import pytest

from tests.sgs.exactness.document import DOCUMENT, MARK, written
from tests.sgs.exactness.outcomes import ALL_KINDS

ROOT = Path(__file__).parents[1]
TEXT = DOCUMENT.read_text()


def test_table_is_written_by_the_tests() -> None:
    assert TEXT.split(MARK)[1] == written(), "run python -m tests.sgs.exactness.document"


def test_readme_counts_the_encoders() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"the {len(ALL_KINDS)} encoders that are tested" in readme


def test_every_assumption_names_a_test_that_exists() -> None:
    rows = [line for line in TEXT.split(MARK)[0].splitlines() if line.startswith("| ")]
    stated = [row for row in rows if "---" not in row and not row.endswith("| test |")]
    assert len(stated) > 25
    for row in stated:
        (found,) = re.findall(r"`(tests/\S+?\.py)::(test_\w+)`", row)
        assert f"\ndef {found[1]}(" in (ROOT / found[0]).read_text(), row


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", TEXT, re.S))
def test_python_blocks_run(block: str) -> None:
    exec(compile(block, str(DOCUMENT), "exec"), {})
