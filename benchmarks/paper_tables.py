"""Memory and operations behind the paper's tables 3, 5 and 6, and what this library makes of them.

    python benchmarks/paper_tables.py                 # all rows; no GPU needed
    python benchmarks/paper_tables.py --only "SGS"    # settings whose name begins so

Last result: naive 128.7 GB, SGS 7.0 GB (K = 4), where the paper measured 137 and 6.6. With frames
streamed, the stem cached and the library's frozen batch normalization 3.0 GB; VideoMAE-L on 1,688
snippets 7.4 GB instead of 4,242.

Every row is a dry run of a whole training step at the paper's size: encoder, detector on 6 % of the
proposals, AdamW. "paper" stands for a figure that the paper gives, measured on a V100.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.measuring.arguments import parser_of
from benchmarks.measuring.conditions import conditions
from benchmarks.measuring.rows import RESULTS, Row, write_rows
from benchmarks.training_steps.dry_runs import NO_ENCODER, Setting

GB = 1e9
HEADLINE = "VideoMAE-L, 1,688 snippets"

# The paper's K counts snippets of one video, of which there are four.
TABLE_3: list[tuple[str, Setting, dict[str, float]]] = [
    ("naive", Setting("naive"), {"flops": 100, "memory": 137, "time": 100}),
    *(
        (
            f"SGS, K = {k}",
            Setting(micro_batch_size=4 * k),
            {"flops": 150, "memory": gb, "time": time},
        )
        for k, gb, time in ((8, 10.3, 180), (4, 6.6, 190), (2, 4.7, 194), (1, 3.8, 264))
    ),
    *(
        (
            f"SGS, K = 4, ratio {percent} %",
            Setting(ratio=percent / 100),
            {"flops": 50 + percent, "memory": 6.6, "time": time},
        )
        for percent, time in ((50, 137), (40, 121), (30, 114), (20, 101), (10, 91))
    ),
]
TABLE_5: list[tuple[str, Setting, dict[str, float]]] = [
    (
        "pre-extracted features",
        Setting("naive", encoder=NO_ENCODER),
        {"forward": 0, "backward": 0, "memory": 1.2},
    ),
    # Two trainings after each other, with 30 % of the snippets each.
    (
        "multi-stage training",
        Setting("naive", bank_ratio=0.3),
        {"forward": 60, "backward": 60, "memory": 44},
    ),
    (
        "feature bank",
        Setting("naive", bank_ratio=0.3),
        {"forward": 30, "backward": 30, "memory": 44},
    ),
    ("SGS", Setting(ratio=0.3), {"forward": 130, "backward": 30, "memory": 6.6}),
    ("naive", Setting("naive"), {"forward": 100, "backward": 100, "memory": 137}),
]
TABLE_6: list[tuple[str, Setting, dict[str, float]]] = [
    ("naive", Setting("naive"), {"memory": 137}),
    ("SGS", Setting(ratio=0.3), {"memory": 6.6}),
    ("checkpoint", Setting("naive", checkpoints_blocks=True), {"memory": 72}),
    ("checkpoint of micro-batches", Setting("checkpointed"), {}),
    ("checkpoint + SGS", Setting(ratio=0.3, checkpoints_blocks=True), {"memory": 4.8}),
    ("mixed precision", Setting("naive", is_half=True), {"memory": 67}),
    ("mixed precision + SGS", Setting(ratio=0.3, is_half=True), {"memory": 4.8}),
    (
        "checkpoint + mixed precision + SGS",
        Setting(ratio=0.3, checkpoints_blocks=True, is_half=True),
        {"memory": 4.0},
    ),
]


def _ours(micro_batch_size: int, **others: Any) -> Setting:
    return Setting(
        micro_batch_size=micro_batch_size,
        ratio=0.3,
        is_streamed=True,
        caches_stem=True,
        has_torchs_batch_norm=False,
        **others,
    )


_HEADLINE = Setting(
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
# What the library reaches with frames streamed, the outputs of the stem kept in host memory, and
# frozen batch normalization that keeps no feature maps.
OURS: list[tuple[str, Setting, dict[str, float]]] = [
    (
        "16 per pass, frames streamed only",
        replace(_ours(16), caches_stem=False, has_torchs_batch_norm=True),
        {},
    ),
    ("naive, frozen batch norm", Setting("naive", has_torchs_batch_norm=False), {}),
    ("16 per pass, torch's batch norm", replace(_ours(16), has_torchs_batch_norm=True), {}),
    ("16 per pass", _ours(16), {"memory": 6.6}),
    ("4 per pass", _ours(4), {"memory": 3.8}),
    ("1 per pass", _ours(1), {}),
    *(
        (
            f"{size} per pass, checkpoint + mixed precision",
            _ours(size, checkpoints_blocks=True, is_half=True),
            {"memory": 4.0} if size == 16 else {},
        )
        for size in (16, 4, 1)
    ),
    ("128 snippets per video", _ours(4, has_detector=False), {}),
    ("4,096 snippets per video", _ours(4, has_detector=False, num_snippets=4096), {}),
    (HEADLINE, _HEADLINE, {}),
    (f"{HEADLINE}, naive", replace(_HEADLINE, method="naive"), {}),
    (f"{HEADLINE}, checkpoint", replace(_HEADLINE, method="checkpointed"), {}),
]
TABLES = {"3": TABLE_3, "5": TABLE_5, "6": TABLE_6, "ours": OURS}


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--only", default="", help="settings whose name begins so")
    arguments = parser.parse_args(argv)
    rows: list[Row] = []
    # Settings stand in several tables and are counted once.
    known: dict[Setting, Row] = {}
    for table, entries in TABLES.items():
        for name, setting, paper in entries:
            if not name.startswith(arguments.only):
                continue
            if setting not in known:
                known[setting] = setting.row()
            row = {"table": table, "name": name, "paper": paper, **known[setting]}
            rows.append({**row, **_conditions()})
            memory = f"{row['peak_bytes'] / GB:.2f} GB"
            print(f"table {table:5} {name:45} {memory:>10} {paper.get('memory', '-'):>8}")
    write_rows(arguments.results or RESULTS / "paper_tables.json", rows)


def _conditions() -> Row:
    found = conditions(torch.device("cpu"))
    # Nothing is timed: where it runs does not matter.
    return {name: found[name] for name in ("torch", "commit", "is_dirty")}


if __name__ == "__main__":
    main()
