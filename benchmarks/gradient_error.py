"""The error of the sampled gradient of the encoder, by strategy.

    python examples/etad/train.py                  # trains the model
    python benchmarks/gradient_error.py            # runs/synthetic/checkpoint.pt, and untrained

Last result, at ratio 30 % with weights, over 40 videos: `GradientNorm` has 0.31 (0.26 to 0.36) of
the error of `Random` on the trained model and 0.64 (0.60 to 0.68) on the untrained one, `Grid` 0.79
and 0.91, `DPP` 0.93 and 1.00, `Block` 1.37 and 1.62. None of them is biased.

For each video of the training set, the gradient of every snippet is computed once. The gradient of
a sample is a weighted sum of them, so that hundreds of draws cost nothing. Errors are relative to
the full gradient: the root of the mean square over draws, then the mean over videos with its 95 %
interval by bootstrap over videos. The bias is the part that does not average out. The cosine does
not depend on the scale, which Adam and clipping remove.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor
from tqdm import tqdm

from benchmarks.draws.variants import PivotalNorm, Stratified
from benchmarks.measuring.arguments import parser_of
from benchmarks.measuring.conditions import conditions
from benchmarks.measuring.intervals import mean, ratio_of_means, with_interval
from benchmarks.measuring.rows import RESULTS, Row, write_rows
from benchmarks.report.error_tables import error_table
from benchmarks.trained_model.encoded_videos import encode_videos
from benchmarks.trained_model.snippet_gradients import SnippetGradients
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

STRATEGIES = (
    Random(), Grid(), Block(), FarthestPoint(), DPP(), GradientNorm(), Stratified(), PivotalNorm(),
)  # fmt: skip
RATIOS = (0.05, 0.1, 0.2, 0.3, 0.5)
CASES = [
    (strategy, weights)
    for strategy in STRATEGIES
    for weights in ("inverse_probability", "none")
    if weights == "none" or strategy.has_inclusion_probability
]


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=CHECKPOINT)
    parser.add_argument("--videos", type=int, default=40, help="videos of the training set")
    parser.add_argument("--draws", type=int, default=100, help="samples per video and setting")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = []
    for name, videos in gradients_of(arguments.checkpoint, num_videos=arguments.videos):
        rows += list(rows_of(name, videos, draws=arguments.draws))
        print(error_table(name, rows))
    write_rows(arguments.results or RESULTS / "gradient_error.json", rows)


def gradients_of(
    checkpoint_path: Path, *, num_videos: int
) -> Iterator[tuple[str, list[SnippetGradients]]]:
    """Yield the untrained and the trained model by name, with the gradients of all snippets."""
    run = TrainedRun.open(checkpoint_path)
    for name, model in (("untrained", run.untrained_model()), ("trained", run.trained_model())):
        videos = encode_videos(model, run.training, run.config.detector, num_videos=num_videos)
        found = (SnippetGradients.of(video.encoded, model.encode) for video in videos)
        yield name, list(tqdm(found, total=num_videos, desc=name))


def rows_of(name: str, videos: Sequence[SnippetGradients], *, draws: int) -> Iterator[Row]:
    """Yield one row per ratio, strategy and weights. The first strategy is the reference."""
    shared = {"model": name, "num_videos": len(videos), "num_snippets": len(videos[0].gram)}
    shared |= conditions(torch.device("cpu"))
    for ratio in RATIOS:
        reference: Sequence[float] = ()
        for strategy, weights in CASES:
            # One for all videos: with one seed for each, chance would look like a preference.
            generator = torch.Generator().manual_seed(0)
            setting: dict[str, Any] = {"ratio": ratio, "weights": weights, "draws": draws}
            errors = [errors_of(v, strategy, generator=generator, **setting) for v in videos]
            relative, bias, cosine = zip(*errors, strict=True)
            reference = reference or relative
            yield {
                "strategy": type(strategy).__name__,
                **setting,
                "error": with_interval(relative, mean),
                "bias": with_interval(bias, mean),
                "cosine": with_interval(cosine, mean),
                "to_random": with_interval(
                    list(zip(relative, reference, strict=True)), ratio_of_means
                ),
                **shared,
            }


class Errors(NamedTuple):
    """Errors of the sampled gradient of one video, relative to the full one.

    Attributes:
        relative: Root of the mean squared error over draws.
        bias: Distance of the expected gradient from the full one.
        cosine: Mean over draws.
    """

    relative: float
    bias: float
    cosine: float


def errors_of(
    video: SnippetGradients,
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
    """Compare weighted sums of the snippets' gradients with their plain sum."""
    draws = len(weight)
    full = gram.sum()
    difference = weight - 1
    squares = (difference @ gram * difference).sum(dim=1) / full
    # The mean product of two different draws is the squared bias.
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


if __name__ == "__main__":
    main()
