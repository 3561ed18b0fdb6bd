import copy
from pathlib import Path

import pytest

from benchmarks import document
from benchmarks.pictures import draw_memory, draw_time
from benchmarks.rows import Row, read_rows
from benchmarks.targets import row_of, targets


@pytest.fixture
def paper_rows() -> list[Row]:
    return read_rows(document.PAPER_RESULT)


@pytest.fixture
def time_rows() -> list[Row]:
    return read_rows(document.results_of("cpu"))


@pytest.fixture
def choice_rows() -> list[Row]:
    return read_rows(document.CHOICE_RESULT)


def test_tables_are_those_of_the_rows(
    paper_rows: list[Row], time_rows: list[Row], choice_rows: list[Row]
) -> None:
    text = document.DOCUMENT.read_text()
    assert document.filled_in(text, paper_rows, time_rows, choice_rows) == text, (
        "run python -m benchmarks.document"
    )


def test_a_changed_row_changes_the_document(
    paper_rows: list[Row], time_rows: list[Row], choice_rows: list[Row]
) -> None:
    text = document.DOCUMENT.read_text()
    row_of(paper_rows, "ours", "4 per pass")["peak_bytes"] = 10**12
    changed = document.filled_in(text, paper_rows, time_rows, choice_rows)
    assert changed != text
    assert "| 1000.00 GB | **no** |" in changed


def test_a_missing_mark_is_refused(
    paper_rows: list[Row], time_rows: list[Row], choice_rows: list[Row]
) -> None:
    text = document.DOCUMENT.read_text().replace("<!-- end table 5 -->", "")
    with pytest.raises(ValueError, match=r"benchmarks.md: expected <!-- begin table 5 --> and"):
        document.filled_in(text, paper_rows, time_rows, choice_rows)


def test_naive_training_is_a_hundred_percent(paper_rows: list[Row]) -> None:
    naive = row_of(paper_rows, "5", "naive")
    assert document.passes(naive, naive=naive) == (1, 1)
    forward, backward = document.passes(row_of(paper_rows, "5", "SGS"), naive=naive)
    assert (forward, backward) == pytest.approx((1.3, 0.3), abs=0.01)


def test_every_target_has_a_verdict(
    paper_rows: list[Row], time_rows: list[Row], choice_rows: list[Row]
) -> None:
    found = targets(paper_rows, time_rows, choice_rows)
    assert [target.subject for target in found if target.is_met is None] == [
        "GPU step time at ratio 100 / 30 / 10 %, to naive"
    ]


def test_counting_agrees_with_the_paper(
    paper_rows: list[Row], time_rows: list[Row], choice_rows: list[Row]
) -> None:
    (agreement,) = [t for t in targets(paper_rows, time_rows, choice_rows) if "Tab. 3" in t.subject]
    assert agreement.is_met
    wrong = copy.deepcopy(paper_rows)
    row_of(wrong, "3", "SGS, K = 1")["peak_bytes"] *= 1.2
    (disagreement,) = [t for t in targets(wrong, time_rows, choice_rows) if "Tab. 3" in t.subject]
    assert not disagreement.is_met


def test_pictures_are_drawn(tmp_path: Path, paper_rows: list[Row], time_rows: list[Row]) -> None:
    draw_memory(paper_rows, tmp_path / "memory.png")
    draw_time(time_rows, tmp_path / "time.png")
    assert all(100_000 > path.stat().st_size > 5_000 for path in tmp_path.iterdir())
