from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from benchmarks import default_run
from benchmarks.measuring.rows import Row, all_rows, read_rows
from tests.etad.test_train import SETTINGS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def committed() -> list[Row]:
    return all_rows()["default_run"]


def test_script_runs_at_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*SETTINGS, "train.epochs=1", f"data.render_folder={tmp_path / 'set'}"]
    paths = ["--output", str(tmp_path / "runs"), "--results", str(tmp_path / "rows.json")]
    monkeypatch.setattr(default_run, "processes", ThreadPoolExecutor)
    default_run.main(
        ["--seeds", "0", "--jobs", "1", *paths, *(x for s in settings for x in ("--set", s))]
    )
    rows = read_rows(tmp_path / "rows.json")
    assert [row["variant"] for row in rows] == ["end to end", "untrained", "frozen random encoder"]
    assert "| untrained |" in capsys.readouterr().out


def test_a_run_has_one_thread_and_passes_its_errors_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with default_run.processes(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
    with pytest.raises(FileNotFoundError, match="no such file"):
        default_run.call("evaluate.py", str(tmp_path / "none.pt"))


def test_readme_shows_the_committed_rows(committed: list[Row]) -> None:
    assert default_run.table(committed) in (ROOT / "README.md").read_text()


def test_committed_rows_keep_the_promises_of_the_example(committed: list[Row]) -> None:
    maps = {
        variant: [r["average_map_class_agnostic"] for r in committed if r["variant"] == variant]
        for variant in (*default_run.VARIANTS, default_run.UNTRAINED)
    }
    assert all(len(values) >= 3 for values in maps.values())
    assert min(maps["end to end"]) >= 0.4
    assert max(maps["untrained"]) < 0.03
    assert max(maps["frozen random encoder"]) < min(maps["end to end"]) - 0.05
