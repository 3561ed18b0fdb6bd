"""The snippets and proposals that each strategy picks, with the trained example.

    python examples/etad/train.py                  # trains the model
    python benchmarks/picked_items.py              # runs/synthetic/checkpoint.pt

Last result, over 120 videos: `FarthestPoint` picks 1.63 (1.54 to 1.73) times as many snippets in
actions as there are among all, `GradientNorm` 1.29, `DPP` 1.08; of proposals, 94 % of what
`FarthestPoint` picks is short, where 50 % of all are, and `DPP` picks 52 %.

Every strategy draws many times from each of the first videos of the training set. A measure is the
mean over draws and videos, with its 95 % interval by bootstrap over videos; its ratios to all items
and to `Random` are given as well. One video and one draw of each strategy are kept for the two
pictures, which correspond to the paper's Fig. 3 and the supplement's Fig. 2.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.measuring.arguments import parser_of
from benchmarks.measuring.conditions import ROOT, conditions
from benchmarks.measuring.intervals import mean, ratio_of_means, with_interval
from benchmarks.measuring.rows import RESULTS, Row, write_rows
from benchmarks.report.picked_pictures import draw_features, draw_picked
from benchmarks.report.picked_tables import picked_tables
from benchmarks.trained_model.embedding import PERPLEXITY, SEED, embed
from benchmarks.trained_model.encoded_videos import encode_videos
from benchmarks.trained_model.picked_proposals import HIGH_TIOU, Proposals
from benchmarks.trained_model.picked_snippets import Snippets
from benchmarks.trained_model.trained_run import CHECKPOINT, TrainedRun

# Three actions of three classes, and background that looks like action.
EXAMPLE = 37

Items = Snippets | Proposals


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    torch.set_num_threads(1)
    run = TrainedRun.open(arguments.checkpoint)
    model = run.trained_model()
    max_duration = len(model.propose.valid)
    snippets, proposals = [], []
    found = encode_videos(model, run.training, run.config.detector, num_videos=arguments.videos)
    for video in tqdm(found, total=arguments.videos, desc="encode"):
        snippets.append(Snippets.of(video))
        proposals.append(Proposals.of(video, max_duration=max_duration))
    example = example_of(snippets[arguments.example], proposals[arguments.example])
    annotation = run.training.annotations[arguments.example]
    rows = [
        *rows_of("snippets", snippets, draws=arguments.draws),
        *rows_of("proposals", proposals, draws=arguments.draws),
        {**example, "video_id": annotation.video_id, "duration_s": annotation.duration_s},
    ]
    write_rows(arguments.results or RESULTS / "picked_items.json", rows)
    print(picked_tables(rows))
    draw_picked(rows, arguments.pictures / "picked_items.png")
    draw_features(rows, arguments.pictures / "picked_features.png")


def rows_of(what: str, videos: Sequence[Items], *, draws: int) -> Iterator[Row]:
    """Yield a row that describes all items, then one per strategy."""
    all_items = [[video.measures(torch.arange(video.num_items))] for video in videos]
    shared = {"what": what, "num_videos": len(videos), "num_items": videos[0].num_items}
    shared |= conditions(torch.device("cpu"))
    yield {"strategy": "all", **shared, "measures": _measures(all_items)}
    shared |= {"ratio": videos[0].ratio, "count": videos[0].count, "draws": draws}
    at_random: list[list[dict[str, float]]] = []
    for strategy in videos[0].strategies:
        # One generator for all videos: chance must not favour the same places in each.
        generator = torch.Generator().manual_seed(0)
        found = [
            [video.measures(video.pick(strategy, generator=generator)) for _ in range(draws)]
            for video in tqdm(videos, desc=f"{what}, {type(strategy).__name__}")
        ]
        at_random = at_random or found
        yield {
            "strategy": type(strategy).__name__,
            **shared,
            "measures": _measures(found),
            "to_all": _measures(found, reference=all_items),
            "to_random": _measures(found, reference=at_random),
        }


def _measures(
    found: Sequence[Sequence[dict[str, float]]],
    reference: Sequence[Sequence[dict[str, float]]] | None = None,
) -> dict[str, list[float] | None]:
    """Return each measure, or its ratio to a reference, with its interval.

    A ratio is None where the reference is 0 in so many videos that no interval is known.
    """
    measures: dict[str, list[float] | None] = {}
    for name in found[0][0]:
        values = _means(found, name)
        if reference is None:
            measures[name] = with_interval(values, mean)
            continue
        pairs = list(zip(values, _means(reference, name), strict=True))
        ratio = with_interval(pairs, ratio_of_means)
        measures[name] = ratio if all(map(math.isfinite, ratio)) else None
    return measures


def _means(found: Sequence[Sequence[dict[str, float]]], name: str) -> list[float]:
    """Return the mean over draws for each video."""
    return [sum(draw[name] for draw in video) / len(video) for video in found]


def example_of(snippets: Snippets, proposals: Proposals) -> Row:
    """Return one video with one draw of every strategy, for the pictures."""
    return {
        "what": "example",
        "num_snippets": snippets.num_items,
        "max_duration": proposals.max_duration,
        "gt_segments": snippets.gt_segments.tolist(),
        "foreground": _positions(snippets.is_foreground),
        "hard_negatives": _positions(snippets.is_hard_negative),
        "high_tiou": _positions(proposals.tiou >= HIGH_TIOU),
        "snippets": _one_draw(snippets),
        "proposals": _one_draw(proposals),
        "embedding": embed(snippets.features).tolist(),
        "perplexity": PERPLEXITY,
        "seed": SEED,
        **conditions(torch.device("cpu")),
    }


def _positions(chosen: Tensor) -> list[int]:
    return chosen.nonzero()[:, 0].tolist()


def _one_draw(items: Items) -> dict[str, list[int]]:
    picks = {}
    for strategy in items.strategies:
        generator = torch.Generator().manual_seed(SEED)
        picks[type(strategy).__name__] = items.pick(strategy, generator=generator).tolist()
    return picks


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=CHECKPOINT)
    parser.add_argument("--videos", type=int, default=120, help="videos of the training set")
    parser.add_argument("--draws", type=int, default=50, help="samples per video and strategy")
    parser.add_argument("--example", type=int, default=EXAMPLE, help="video of the pictures")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs", help="folder for them")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.example < arguments.videos:
        parser.error(
            f"--example {arguments.example}: expected one of the {arguments.videos} videos, "
            "counted from 0. Choose another, or look at more videos."
        )
    return arguments


if __name__ == "__main__":
    main()
