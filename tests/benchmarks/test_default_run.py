import json
import sys
from pathlib import Path

import pytest

from benchmarks import default_run
from tests.etad.test_train import SETTINGS

ROOT = Path(__file__).parents[2]


def test_script_runs_at_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*SETTINGS, "train.epochs=1", f"data.render_folder={tmp_path / 'set'}"]
    paths = ["--output", str(tmp_path / "runs"), "--results", str(tmp_path / "rows.json")]
    sets = [x for s in settings for x in ("--set", s)]
    monkeypatch.setattr(
        sys, "argv", ["default_run.py", "--seeds", "0", "--jobs", "1", *paths, *sets]
    )
    default_run.main()
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["variant"] for row in rows] == ["end to end", "untrained", "frozen random encoder"]
    assert "| untrained |" in capsys.readouterr().out


def test_failing_run_fails_the_script(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"evaluate.py .* failed:(?s:.*)no such file"):
        default_run.call("evaluate.py", str(tmp_path / "none.pt"))


def test_readme_shows_the_committed_rows() -> None:
    rows = json.loads(default_run.RESULTS.read_text())
    assert default_run.table(rows) in (ROOT / "README.md").read_text()


def test_committed_rows_keep_the_promises_of_the_example() -> None:
    rows = json.loads(default_run.RESULTS.read_text())
    maps = {
        variant: [row["average_map_class_agnostic"] for row in rows if row["variant"] == variant]
        for variant in (*default_run.VARIANTS, default_run.UNTRAINED)
    }
    assert all(len(values) >= 3 for values in maps.values())
    assert min(maps["end to end"]) >= 0.4
    assert max(maps["untrained"]) < 0.03
    assert max(maps["frozen random encoder"]) < min(maps["end to end"]) - 0.05
