import copy
from pathlib import Path

import pytest

from benchmarks import document
from benchmarks.measuring.rows import Row, all_rows
from benchmarks.report.pictures import draw_memory, draw_time
from benchmarks.report.sgs_targets import row_of, sgs_targets
from benchmarks.report.step_tables import passes


@pytest.fixture
def rows() -> dict[str, list[Row]]:
    return all_rows()


@pytest.mark.parametrize("path", document.DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_those_of_the_rows(rows: dict[str, list[Row]], path: Path) -> None:
    found = document.DOCUMENTS[path](rows)
    assert document.filled_in(path, found) == path.read_text(), "run python -m benchmarks.document"


def test_a_changed_row_changes_the_document(rows: dict[str, list[Row]]) -> None:
    row_of(rows["paper_tables"], "ours", "4 per pass")["peak_bytes"] = 10**12
    changed = document.filled_in(document.BENCHMARKS, document.benchmarks_tables(rows))
    assert changed != document.BENCHMARKS.read_text()
    assert "| 1000.00 GB | **no** |" in changed


def test_a_missing_mark_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.md"
    path.write_text("<!-- begin one -->")
    with pytest.raises(ValueError, match=r"some.md: expected <!-- begin one --> and <!-- end one"):
        document.filled_in(path, {"one": "| table |"})


def test_naive_training_is_a_hundred_percent(rows: dict[str, list[Row]]) -> None:
    naive = row_of(rows["paper_tables"], "5", "naive")
    assert passes(naive, naive=naive) == (1, 1)
    forward, backward = passes(row_of(rows["paper_tables"], "5", "SGS"), naive=naive)
    assert (forward, backward) == pytest.approx((1.3, 0.3), abs=0.01)


def test_every_target_has_a_verdict(rows: dict[str, list[Row]]) -> None:
    found = sgs_targets(rows)
    assert [target.subject for target in found if target.is_met is None] == [
        "GPU step time at ratio 100 / 30 / 10 %, to naive"
    ]


def test_counting_agrees_with_the_paper(rows: dict[str, list[Row]]) -> None:
    (agreement,) = [t for t in sgs_targets(rows) if "Tab. 3" in t.subject]
    assert agreement.is_met
    wrong = copy.deepcopy(rows)
    row_of(wrong["paper_tables"], "3", "SGS, K = 1")["peak_bytes"] *= 1.2
    (disagreement,) = [t for t in sgs_targets(wrong) if "Tab. 3" in t.subject]
    assert not disagreement.is_met


def test_pictures_are_drawn(tmp_path: Path, rows: dict[str, list[Row]]) -> None:
    draw_memory(rows["paper_tables"], tmp_path / "memory.png")
    draw_time(rows["sgs_time_cpu"], tmp_path / "time.png")
    assert all(100_000 > path.stat().st_size > 5_000 for path in tmp_path.iterdir())


@pytest.mark.parametrize(("found", "is_met"), [(1.03, True), (1.031, False)])
def test_overhead_keeps_its_target(rows: dict[str, list[Row]], found: float, is_met: bool) -> None:
    row = {"encoder": "EfficientNet-B0", "to_hand_written": [1.0, found, 1.1]}
    targets = [t for t in sgs_targets({**rows, "overhead": [row]}) if "EfficientNet" in t.subject]
    assert [(t.subject, t.target, t.is_met) for t in targets] == [
        ("CPU step time, EfficientNet-B0, to hand-written Alg. 1, ratio 100%", "≤ 1.03", is_met)
    ]


def test_import_keeps_its_target(rows: dict[str, list[Row]]) -> None:
    for seconds, is_met in ((0.15, True), (0.151, False)):
        row = {"package": "sgs", "after": "torch", "import_s": [0.1, seconds, 0.2]}
        *_, target = sgs_targets({**rows, "import_time": [row]})
        assert (target.subject, target.is_met) == (
            "`import sgs` beyond `import torch`, one CPU core",
            is_met,
        )
    assert target.ours == "0.151 (0.100 to 0.200) s"
    assert target.target == "≤ 0.15 s"
