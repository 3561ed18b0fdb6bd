from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks import paper_tables
from benchmarks.document import BENCHMARKS
from benchmarks.measuring.rows import read_rows
from benchmarks.training_steps.dry_runs import NO_ENCODER, DryRun
from examples.etad.encoders.build import build_encoder
from sgs.planning.estimate.live_bytes import LiveBytes
from tests.benchmarks.tiny import tiny_encoder

# Large enough for the encoder to matter beside its weights; nothing of it is allocated.
TOY = {"num_snippets": 64, "num_videos": 2, "frames_per_snippet": 4, "frame_size": 64}
# Without the detector, which takes most of the time of a dry run.
ENCODER = {**TOY, "has_detector": False}
TINY = {**TOY, "frame_size": 4, "encoder": "tiny", "frozen_stages": 1}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(name: str, **sizes: int) -> nn.Module:
        return tiny_encoder() if name == "tiny" else build_encoder(name, **sizes)

    monkeypatch.setattr("benchmarks.training_steps.dry_runs.build_encoder", build)


def test_script_runs_at_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [
        ("naive", DryRun("naive", **ENCODER), {"memory": 137}),
        ("SGS", DryRun(micro_batch_size=32, ratio=0.5, **ENCODER), {}),
        ("whole", DryRun("naive", **TINY), {}),
        ("bank", DryRun("naive", bank_ratio=0.25, **TINY), {}),
        ("features", DryRun("naive", **{**TINY, "encoder": NO_ENCODER}), {}),
    ]
    path = tmp_path / "rows.json"
    monkeypatch.setattr(paper_tables, "TABLES", {"3": entries})
    paper_tables.main(["--results", str(path)])
    naive, sgs, whole, bank, features = read_rows(path)
    assert naive["peak_bytes"] > sgs["peak_bytes"] > 0
    assert {"torch", "commit", "is_dirty", "setting", "flops"} < naive.keys()
    assert "137" in capsys.readouterr().out
    # A bank encodes a part of the snippets; the detector sees all of them.
    assert bank["flops"]["forward"] == whole["flops"]["forward"] // 4 > 0
    assert bank["flops"]["head"] == whole["flops"]["head"] > 0
    assert features["flops"]["forward"] == features["flops"]["backward"] == 0
    assert features["flops"]["head"] > 0


def test_settings_of_naive_training_change_what_their_names_say() -> None:
    naive, half, lean, recomputed = (
        DryRun("naive", **ENCODER, **option).row()
        for option in (
            {},
            {"is_half": True},
            {"has_torchs_batch_norm": False},
            {"checkpoints_blocks": True},
        )
    )
    for other in (half, lean, recomputed):
        activations = other["bytes_by_category"]["activations"]
        assert activations < naive["bytes_by_category"]["activations"]
    assert lean["flops"] == naive["flops"]
    assert sum(recomputed["flops"].values()) > sum(naive["flops"].values())


def test_settings_of_the_sampler_change_what_their_names_say() -> None:
    base, streamed, cached = (
        DryRun(micro_batch_size=32, ratio=0.5, has_detector=False, **TINY, **option).row()
        for option in ({}, {"is_streamed": True}, {"is_streamed": True, "caches_stem": True})
    )
    assert streamed["bytes_by_category"]["items"] < base["bytes_by_category"]["items"]
    assert cached["flops"]["backward"] < streamed["flops"]["backward"]
    assert cached["flops"]["forward"] == streamed["flops"]["forward"]


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


@pytest.mark.parametrize("table", paper_tables.TABLES)
def test_names_within_a_table_are_distinct(table: str) -> None:
    names = [name for name, _, _ in paper_tables.TABLES[table]]
    assert len(set(names)) == len(names)
