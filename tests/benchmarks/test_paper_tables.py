import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks import paper_tables
from benchmarks.document import BENCHMARKS
from benchmarks.measuring.rows import read_rows
from benchmarks.training_steps.dry_runs import NO_ENCODER, Setting
from examples.etad.encoders.build import build_encoder
from sgs.planning.estimate.live_bytes import LiveBytes

# Large enough for the encoder to matter beside its weights; nothing of it is allocated.
TOY = {"num_snippets": 64, "num_videos": 2, "frames_per_snippet": 4, "frame_size": 64}


def test_script_runs_at_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [
        ("naive", Setting("naive", **TOY), {"memory": 137}),
        ("SGS", Setting(micro_batch_size=32, ratio=0.5, **TOY), {}),
    ]
    path = tmp_path / "rows.json"
    monkeypatch.setattr(paper_tables, "TABLES", {"3": entries})
    monkeypatch.setattr(sys, "argv", ["paper_tables.py", "--results", str(path)])
    paper_tables.main()
    naive, sgs = read_rows(path)
    assert naive["peak_bytes"] > sgs["peak_bytes"] > 0
    assert {"torch", "commit", "is_dirty", "setting", "flops"} < naive.keys()
    assert "137" in capsys.readouterr().out


def test_settings_change_what_their_names_say() -> None:
    base = Setting(micro_batch_size=32, ratio=0.5, **TOY).row()
    streamed = Setting(micro_batch_size=32, ratio=0.5, is_streamed=True, **TOY).row()
    assert streamed["bytes_by_category"]["items"] < base["bytes_by_category"]["items"]
    cached = Setting(
        micro_batch_size=32, ratio=0.5, is_streamed=True, caches_stem=True, **TOY
    ).row()
    assert cached["flops"]["backward"] < streamed["flops"]["backward"]
    assert cached["flops"]["forward"] == streamed["flops"]["forward"]
    half = Setting(micro_batch_size=32, ratio=0.5, is_half=True, **TOY).row()
    assert half["bytes_by_category"]["activations"] < base["bytes_by_category"]["activations"]
    lean = Setting(micro_batch_size=32, ratio=0.5, has_torchs_batch_norm=False, **TOY).row()
    assert lean["bytes_by_category"]["activations"] < base["bytes_by_category"]["activations"]
    assert lean["flops"] == base["flops"]


def test_recomputed_blocks_take_less_memory_and_more_operations() -> None:
    direct = Setting("naive", **TOY).row()
    recomputed = Setting("naive", checkpoints_blocks=True, **TOY).row()
    assert (
        recomputed["bytes_by_category"]["activations"] < direct["bytes_by_category"]["activations"]
    )
    assert sum(recomputed["flops"].values()) > sum(direct["flops"].values())


def test_one_block_takes_what_the_document_says() -> None:
    """Why 16 snippets per pass miss the target with checkpoints and mixed precision."""
    counter = LiveBytes()
    with FakeTensorMode():
        block = build_encoder("resnet50_tsm").layer3[0]
        maps = torch.empty(16, 8, 512, 28, 28, dtype=torch.bfloat16, requires_grad=True)
        gradient = torch.empty(16, 8, 1024, 14, 14, dtype=torch.bfloat16)
        counter.assign([maps, gradient, *block.parameters(), *block.buffers()], "there before")
        with counter, torch.autocast("cpu", torch.bfloat16):
            block(maps).backward(gradient)
    assert f"{counter.peak.total() / 1e9:.2f} GB for 16 snippets" in BENCHMARKS.read_text()


def test_features_on_disk_leave_the_detector_alone() -> None:
    row = Setting("naive", encoder=NO_ENCODER, **TOY).row()
    assert row["flops"]["forward"] == row["flops"]["backward"] == 0
    assert row["flops"]["head"] > 0


def test_a_bank_encodes_a_part_of_the_snippets() -> None:
    part = Setting("naive", bank_ratio=0.25, **TOY).row()
    whole = Setting("naive", **TOY).row()
    assert part["flops"]["forward"] == whole["flops"]["forward"] // 4
    assert part["flops"]["head"] == whole["flops"]["head"]


@pytest.mark.parametrize("table", paper_tables.TABLES)
def test_names_within_a_table_are_distinct(table: str) -> None:
    names = [name for name, _, _ in paper_tables.TABLES[table]]
    assert len(set(names)) == len(names)
