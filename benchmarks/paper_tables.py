"""Memory and operations of the paper's tables 3, 5 and 6, and of this library's best settings.

    python benchmarks/paper_tables.py                 # all rows; no GPU needed
    python benchmarks/paper_tables.py --only "SGS"    # settings whose name begins so

Last result: naive 128.7 GB, SGS 7.0 GB (K = 4), where the paper measured 137 and 6.6. With frames
streamed, the stem cached and the library's frozen batch normalization 3.0 GB; VideoMAE-L on 1,688
snippets 7.4 GB instead of 4,242.

Every row is a dry run of a whole training step at the paper's size: encoder, detector on 6 % of the
proposals, AdamW. "paper" is the figure of the paper, measured on a V100.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from benchmarks.measuring.arguments import parser_of
from benchmarks.measuring.conditions import conditions
from benchmarks.measuring.rows import RESULTS, Row, write_rows
from benchmarks.training_steps.dry_runs import NO_ENCODER, DryRun

GB = 1e9
LONG_VIDEO = "VideoMAE-L, 1,688 snippets"


class Entry(NamedTuple):
    """A row of a table: its name, what is counted, and the figures of the paper."""

    name: str
    setting: DryRun
    paper: dict[str, float]


def _entry(name: str, setting: DryRun, **paper: float) -> Entry:
    return Entry(name, setting, paper)


def _ours(micro_batch_size: int, **others: Any) -> DryRun:
    """Return the best setting: frames streamed, stem cached, the library's batch normalization."""
    ours = DryRun(ratio=0.3, is_streamed=True, caches_stem=True, has_torchs_batch_norm=False)
    return replace(ours, micro_batch_size=micro_batch_size, **others)


_LEAN: dict[str, Any] = {"checkpoints_blocks": True, "is_half": True}
_LONG_VIDEO = DryRun(
    encoder="videomae_large",
    frozen_stages=0,
    micro_batch_size=1,
    ratio=0.3,
    num_videos=1,
    num_snippets=1688,
    frames_per_snippet=16,
    is_streamed=True,
    has_detector=False,
)
# The paper's K counts snippets of one video, of which there are four.
TABLE_3 = [
    _entry("naive", DryRun("naive"), flops=100, memory=137, time=100),
    *(
        _entry(f"SGS, K = {k}", DryRun(micro_batch_size=4 * k), flops=150, memory=gb, time=time)
        for k, gb, time in ((8, 10.3, 180), (4, 6.6, 190), (2, 4.7, 194), (1, 3.8, 264))
    ),
    *(
        _entry(
            f"SGS, K = 4, ratio {percent} %",
            DryRun(ratio=percent / 100),
            flops=50 + percent,
            memory=6.6,
            time=time,
        )
        for percent, time in ((50, 137), (40, 121), (30, 114), (20, 101), (10, 91))
    ),
]
_FEATURES, _BANK = DryRun("naive", encoder=NO_ENCODER), DryRun("naive", bank_ratio=0.3)
TABLE_5 = [
    _entry("pre-extracted features", _FEATURES, forward=0, backward=0, memory=1.2),
    # Two trainings, one after the other, with 30 % of the snippets each.
    _entry("multi-stage training", _BANK, forward=60, backward=60, memory=44),
    _entry("feature bank", _BANK, forward=30, backward=30, memory=44),
    _entry("SGS", DryRun(ratio=0.3), forward=130, backward=30, memory=6.6),
    _entry("naive", DryRun("naive"), forward=100, backward=100, memory=137),
]
TABLE_6 = [
    _entry("naive", DryRun("naive"), memory=137),
    _entry("SGS", DryRun(ratio=0.3), memory=6.6),
    _entry("checkpoint", DryRun("naive", checkpoints_blocks=True), memory=72),
    _entry("checkpoint of micro-batches", DryRun("checkpointed")),
    _entry("checkpoint + SGS", DryRun(ratio=0.3, checkpoints_blocks=True), memory=4.8),
    _entry("mixed precision", DryRun("naive", is_half=True), memory=67),
    _entry("mixed precision + SGS", DryRun(ratio=0.3, is_half=True), memory=4.8),
    _entry("checkpoint + mixed precision + SGS", DryRun(ratio=0.3, **_LEAN), memory=4.0),
]
_STREAMED = _ours(16, caches_stem=False, has_torchs_batch_norm=True)
OURS = [
    _entry("16 per pass, frames streamed only", _STREAMED),
    _entry("naive, frozen batch norm", DryRun("naive", has_torchs_batch_norm=False)),
    _entry("16 per pass, torch's batch norm", _ours(16, has_torchs_batch_norm=True)),
    _entry("16 per pass", _ours(16), memory=6.6),
    _entry("4 per pass", _ours(4), memory=3.8),
    _entry("1 per pass", _ours(1)),
    _entry("16 per pass, checkpoint + mixed precision", _ours(16, **_LEAN), memory=4.0),
    _entry("4 per pass, checkpoint + mixed precision", _ours(4, **_LEAN)),
    _entry("1 per pass, checkpoint + mixed precision", _ours(1, **_LEAN)),
    _entry("128 snippets per video", _ours(4, has_detector=False)),
    _entry("4,096 snippets per video", _ours(4, has_detector=False, num_snippets=4096)),
    _entry(LONG_VIDEO, _LONG_VIDEO),
    _entry(f"{LONG_VIDEO}, naive", replace(_LONG_VIDEO, method="naive")),
    _entry(f"{LONG_VIDEO}, checkpoint", replace(_LONG_VIDEO, method="checkpointed")),
]
TABLES = {"3": TABLE_3, "5": TABLE_5, "6": TABLE_6, "ours": OURS}


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--only", default="", help="settings whose name begins so")
    arguments = parser.parse_args(argv)
    found = conditions(torch.device("cpu"))
    # Nothing is timed: the machine does not matter.
    shared = {name: found[name] for name in ("torch", "commit", "is_dirty")}
    rows: list[Row] = []
    # Some settings are in several tables. Count them once.
    known: dict[DryRun, Row] = {}
    for table, entries in TABLES.items():
        for name, setting, paper in entries:
            if not name.startswith(arguments.only):
                continue
            if setting not in known:
                known[setting] = setting.row()
            row = {"table": table, "name": name, "paper": paper, **known[setting], **shared}
            rows.append(row)
            memory = f"{row['peak_bytes'] / GB:.2f} GB"
            print(f"table {table:5} {name:45} {memory:>10} {paper.get('memory', '-'):>8}")
    write_rows(arguments.results or RESULTS / "paper_tables.json", rows)


if __name__ == "__main__":
    main()
