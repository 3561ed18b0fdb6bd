"""Train ETAD end to end on video files.

    python examples/etad/train.py                                # renders its videos, then trains
    python examples/etad/train.py --set encoder.frozen=true --output runs/frozen
    python examples/etad/train.py --config my.toml --output runs/mine
    python examples/etad/train.py --output runs/mine --resume    # continues after the last epoch
    python examples/etad/train.py --memory-budget 2GiB           # micro-batch sizes to fit it
    python examples/etad/train.py --dry-run                      # memory and operations of a step

Writes checkpoint, resolved settings, history, result table and pictures to the output folder.
"""

import argparse
import time
from pathlib import Path

from examples.etad.data.from_settings import Videos, find_videos
from examples.etad.pictures.curves import plot_training_curve
from examples.etad.result_files import report, write_results
from examples.etad.settings.config import Config
from examples.etad.settings.loading import config_from, load_config
from examples.etad.training.checkpoint import load_checkpoint
from examples.etad.training.dry_run import dry_run
from examples.etad.training.loop import Run

DEFAULT_CONFIG = Path(__file__).parent / "configs" / "synthetic.toml"


def main() -> None:
    arguments = parse_arguments()
    started_s = time.perf_counter()
    config = resolve_config(arguments)
    videos = find_videos(config.data)
    check_classes(config, videos)
    if arguments.dry_run:
        print(dry_run(config, num_videos=len(videos.training)))
        return
    run = Run(config, videos, arguments.output)
    if arguments.resume:
        run.resume()
    run.train()
    evaluation = run.evaluate()
    print(report(evaluation))
    files = write_results(arguments.output, evaluation, classes=videos.classes)
    curve = arguments.output / "training.png"
    plot_training_curve(curve, run.history)
    print("\n".join(f"wrote {file}" for file in [run.checkpoint_path, *files, curve]))
    print(f"took {(time.perf_counter() - started_s) / 60:.1f} minutes in all")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="TOML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override a setting"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/synthetic"), help="folder")
    parser.add_argument("--resume", action="store_true", help="continue the run in --output")
    parser.add_argument("--memory-budget", metavar="SIZE", help="of the device, e.g. 6GiB")
    parser.add_argument(
        "--dry-run", action="store_true", help="only estimate memory and operations"
    )
    return parser.parse_args()


def resolve_config(arguments: argparse.Namespace) -> Config:
    """Return the settings of the run; a resumed run keeps those of its checkpoint."""
    if arguments.memory_budget:
        arguments.set.append(f"encoder.memory_budget={arguments.memory_budget}")
    checkpoint = arguments.output / "checkpoint.pt"
    if arguments.resume:
        config = config_from(load_checkpoint(checkpoint)["config"])
        if arguments.set:
            raise SystemExit(
                "--resume keeps the settings of the run. Leave out --set and --memory-budget."
            )
        return config
    if checkpoint.exists() and not arguments.dry_run:
        raise SystemExit(
            f"{checkpoint} exists already. Pass --resume to continue, or another --output."
        )
    return load_config(arguments.config, arguments.set)


def check_classes(config: Config, videos: Videos) -> None:
    """Refuse a classification head that does not fit the annotations."""
    if config.detector.num_classes not in (0, len(videos.classes)):
        raise SystemExit(
            f"detector.num_classes={config.detector.num_classes}: the annotations have "
            f"{len(videos.classes)} classes. Set it to that, or to 0 for class-agnostic detection."
        )


if __name__ == "__main__":
    main()
