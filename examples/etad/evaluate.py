"""Evaluate a checkpoint on annotated videos.

    python examples/etad/evaluate.py                              # runs/synthetic/checkpoint.pt
    python examples/etad/evaluate.py runs/mine/checkpoint.pt --output runs/mine/test
    python examples/etad/evaluate.py --untrained                  # the same model before training

Writes the result tables, the detections and pictures of some videos to the output folder.
"""

import argparse
from pathlib import Path

import torch

from examples.etad.data.from_settings import find_videos, open_dataset
from examples.etad.end_to_end import ETAD
from examples.etad.evaluation.evaluate_model import evaluate
from examples.etad.result_files import report, write_results
from examples.etad.settings.loading import config_from, override
from examples.etad.training.checkpoint import load_checkpoint


def main() -> None:
    arguments = parse_arguments()
    checkpoint = load_checkpoint(arguments.checkpoint)
    config = override(config_from(checkpoint["config"]), arguments.set)
    videos = find_videos(config.data)
    torch.manual_seed(config.train.seed)
    model = ETAD(config, pretrained=arguments.untrained)
    if not arguments.untrained:
        model.load_state_dict(checkpoint["model"])
    evaluation = evaluate(
        model,
        open_dataset(videos.validation, config.data, classes=videos.classes),
        videos.validation,
        classes=videos.classes,
        config=config,
    )
    print(report(evaluation))
    folder = arguments.output or arguments.checkpoint.parent / "evaluation"
    for file in write_results(folder, evaluation, classes=videos.classes):
        print(f"wrote {file}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "checkpoint", type=Path, nargs="?", default=Path("runs/synthetic/checkpoint.pt")
    )
    parser.add_argument("--output", type=Path, help="folder; beside the checkpoint if left out")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override a setting"
    )
    parser.add_argument("--untrained", action="store_true", help="use the initial weights")
    return parser.parse_args()


if __name__ == "__main__":
    main()
