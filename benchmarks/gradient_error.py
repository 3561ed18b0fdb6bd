"""How far the sampled gradient of the encoder is from the full one, by strategy.

    python examples/etad/train.py                  # the model that is looked at
    python benchmarks/gradient_error.py            # runs/synthetic/checkpoint.pt, and untrained

Last result, at ratio 30 % with weights, over 40 videos: `GradientNorm` has 0.31 (0.26 to 0.36) of
the error of `Random` on the trained model and 0.64 (0.60 to 0.68) on the untrained one, `Grid` 0.79
and 0.91, `DPP` 0.93 and 1.00, `Block` 1.37 and 1.62. None of them is biased.

For each video of the training set, the gradient of every snippet is computed once; a sample is then
a weighted sum of them, so that hundreds of draws cost nothing. Errors are relative to the full
gradient: the root of the mean square over draws, then the mean over videos with its 95 % interval
by bootstrap over videos. The bias is what does not average out. The cosine does not depend on the
scale, which Adam and clipping take away.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor
from tqdm import tqdm

from benchmarks.draws.variants import PivotalNorm, Stratified
from benchmarks.measuring.conditions import conditions
from benchmarks.measuring.intervals import mean, ratio_of_means, with_interval
from benchmarks.measuring.rows import RESULTS, Row, write_rows
from benchmarks.report.error_tables import error_table
from benchmarks.trained_model.encoded_videos import encode_videos
from benchmarks.trained_model.item_gradients import Contributions
from benchmarks.trained_model.trained_run import CHECKPOINT, TrainedRun
from samplers import (
    DPP,
    AbstractSampler,
    Block,
    Candidates,
    FarthestPoint,
    GradientNorm,
    Grid,
    Random,
    count_from_ratio,
)

RESULT = RESULTS / "gradient_error.json"
STRATEGIES = (
    Random(), Grid(), Block(), FarthestPoint(), DPP(), GradientNorm(), Stratified(), PivotalNorm(),
)  # fmt: skip
RATIOS = (0.05, 0.1, 0.2, 0.3, 0.5)
WEIGHTS = ("inverse_probability", "none")


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    rows = []
    for name, videos in contributions(arguments.checkpoint, num_videos=arguments.videos):
        rows += list(rows_of(name, videos, draws=arguments.draws))
        print(error_table(name, rows))
    write_rows(arguments.results, rows)


def contributions(
    checkpoint_path: Path, *, num_videos: int
) -> Iterator[tuple[str, list[Contributions]]]:
    """Yield the untrained and the trained model by name, with its snippets' gradients."""
    run = TrainedRun.open(checkpoint_path)
    for name, model in (("untrained", run.untrained_model()), ("trained", run.trained_model())):
        videos = encode_videos(model, run.training, run.config.detector, num_videos=num_videos)
        found = (Contributions.of(video.encoded, model.encode) for video in videos)
        yield name, list(tqdm(found, total=num_videos, desc=name))


def rows_of(name: str, videos: Sequence[Contributions], *, draws: int) -> Iterator[Row]:
    """Yield one row per strategy, ratio and weights."""
    shared = {"model": name, "num_videos": len(videos), "draws": draws}
    shared |= {"num_snippets": len(videos[0].gram), **conditions(torch.device("cpu"))}
    for ratio in RATIOS:
        reference: list[float] = []
        for strategy in STRATEGIES:
            for weights in WEIGHTS:
                if weights == "inverse_probability" and not strategy.has_inclusion_probability:
                    continue
                # One for all videos: chance that they share would be missing from the interval.
                generator = torch.Generator().manual_seed(0)
                errors = [
                    errors_of(
                        video,
                        strategy,
                        ratio=ratio,
                        weights=weights,
                        draws=draws,
                        generator=generator,
                    )
                    for video in videos
                ]
                relative = [error.relative for error in errors]
                reference = reference or relative
                yield {
                    "strategy": type(strategy).__name__,
                    "ratio": ratio,
                    "weights": weights,
                    "error": with_interval(relative, mean),
                    "bias": with_interval([error.bias for error in errors], mean),
                    "cosine": with_interval([error.cosine for error in errors], mean),
                    "to_random": with_interval(
                        list(zip(relative, reference, strict=True)), ratio_of_means
                    ),
                    **shared,
                }


@dataclass(frozen=True)
class Errors:
    """Of the sampled gradient of one video, relative to the full one.

    Attributes:
        relative: Root of the mean squared error over draws.
        bias: Distance of the expected gradient from the full one.
        cosine: Mean over draws.
    """

    relative: float
    bias: float
    cosine: float


def errors_of(
    video: Contributions,
    strategy: AbstractSampler,
    *,
    ratio: float,
    weights: str,
    draws: int,
    generator: torch.Generator,
) -> Errors:
    """Draw many times from one video."""
    candidates = Candidates(
        num_items=len(video.gram), features=video.features, gradient_norm=video.gradient_norm
    )
    count = count_from_ratio(ratio, candidates.num_items)
    value = torch.ones(candidates.num_items, dtype=torch.float64)
    if weights == "inverse_probability":
        value = 1 / strategy.inclusion_probability(candidates, count)
    weight = torch.zeros(draws, candidates.num_items, dtype=torch.float64)
    for draw in range(draws):
        index = strategy.sample(candidates, count, generator=generator)
        weight[draw, index] = value[index]
    return _errors(video.gram, weight)


def _errors(
    gram: Float64[Tensor, "snippets snippets"], weight: Float64[Tensor, "draws snippets"]
) -> Errors:
    """Compare sums of the snippets' gradients, each times a weight, with their sum."""
    draws = len(weight)
    full = gram.sum()
    difference = weight - 1
    squares = (difference @ gram * difference).sum(dim=1) / full
    # Products of two different draws have the squared bias as their mean.
    total = difference.sum(dim=0)
    pairs = (total @ gram @ total / full - squares.sum()) / (draws * (draws - 1))
    products = weight @ gram
    length = (products * weight).sum(dim=1).clamp(min=0).sqrt()
    cosine = (products.sum(dim=1) / (length * full.sqrt())).nan_to_num(nan=0.0)
    return Errors(
        relative=math.sqrt(max(float(squares.mean()), 0.0)),
        bias=math.sqrt(max(float(pairs), 0.0)),
        cosine=float(cosine.mean()),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, nargs="?", default=CHECKPOINT)
    parser.add_argument("--videos", type=int, default=40, help="videos of the training set")
    parser.add_argument("--draws", type=int, default=100, help="samples per video and setting")
    parser.add_argument("--results", type=Path, default=RESULT, help="file for the rows")
    return parser.parse_args()


if __name__ == "__main__":
    main()
