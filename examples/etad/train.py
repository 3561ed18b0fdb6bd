"""Train ETAD end to end on video files.

    python examples/etad/train.py                                # renders its videos, then trains
    python examples/etad/train.py --set encoder.frozen=true --output runs/frozen
    python examples/etad/train.py --config my.toml --output runs/mine
    python examples/etad/train.py --output runs/mine --resume    # goes on after the last epoch
    python examples/etad/train.py --memory-budget 2GiB           # micro-batch sizes to fit it
    python examples/etad/train.py --dry-run                      # what a step will take

Writes checkpoint, resolved settings, history, result table and pictures to the output folder.
"""

import argparse
import json
import math
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from examples.etad.data.dataset import collate
from examples.etad.data.open import Videos, find_videos, open_dataset
from examples.etad.data.snippets.augmentation import Augmentation
from examples.etad.detectors.etad.losses import detection_loss
from examples.etad.end_to_end import ETAD
from examples.etad.evaluation.evaluation import Evaluation, evaluate, report, write_results
from examples.etad.pictures.curves import plot_training_curve
from examples.etad.settings.config import Config, TrainConfig
from examples.etad.settings.loading import config_from, load_config, to_dict
from examples.etad.training.checkpoint import load_checkpoint, save_checkpoint
from examples.etad.training.dry_run import dry_run
from examples.etad.training.progress import Progress, mean_losses, peak_memory_mib

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
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output")
    parser.add_argument("--memory-budget", metavar="SIZE", help="of the device, e.g. 6GiB")
    parser.add_argument("--dry-run", action="store_true", help="only tell what a step will take")
    return parser.parse_args()


def resolve_config(arguments: argparse.Namespace) -> Config:
    """Return the settings; those of the checkpoint, whatever else is given, when resuming."""
    if arguments.memory_budget:
        arguments.set.append(f"encoder.memory_budget={arguments.memory_budget}")
    checkpoint = arguments.output / "checkpoint.pt"
    if arguments.resume:
        config = config_from(load_checkpoint(checkpoint)["config"])
        if arguments.set:
            raise SystemExit("--resume goes on with the run's own settings; leave others out.")
        return config
    if checkpoint.exists() and not arguments.dry_run:
        raise SystemExit(
            f"{checkpoint} exists already. Pass --resume to go on, or another --output."
        )
    return load_config(arguments.config, arguments.set)


def check_classes(config: Config, videos: Videos) -> None:
    """Refuse a classification head that does not fit the annotations."""
    if config.detector.num_classes not in (0, len(videos.classes)):
        raise SystemExit(
            f"detector.num_classes={config.detector.num_classes}: the annotations have "
            f"{len(videos.classes)} classes. Set it to that, or to 0 for class-agnostic detection."
        )


class Run:
    """One training run: what it needs, and what it has done so far."""

    def __init__(self, config: Config, videos: Videos, folder: Path) -> None:
        self.config, self.videos, self.folder = config, videos, folder
        self.checkpoint_path = folder / "checkpoint.pt"
        self.history: list[dict[str, float]] = []
        self.epoch = 0
        self.device = pick_device(config.train.device)
        torch.manual_seed(config.train.seed)
        # Where a checkpoint is, `resume` loads all weights from it.
        pretrained = not self.checkpoint_path.exists()
        self.model = ETAD(config, pretrained=pretrained).to(self.device)
        augmentation = Augmentation(
            seed=config.train.seed,
            random_crop=config.data.random_crop,
            horizontal_flip=config.data.horizontal_flip,
        )
        data = {"classes": videos.classes}
        self.training = open_dataset(
            videos.training, config.data, augmentation=augmentation, **data
        )
        self.validation = open_dataset(videos.validation, config.data, **data)
        self.order = torch.Generator()
        self.loader = DataLoader(
            self.training,
            batch_size=config.train.batch_size,
            shuffle=True,
            generator=self.order,
            drop_last=len(self.training) > config.train.batch_size,
            num_workers=config.data.num_workers,
            persistent_workers=config.data.num_workers > 0,
            collate_fn=collate,
        )
        self.optimizer = build_optimizer(self.model, config.train)
        self.scheduler = build_scheduler(self.optimizer, config.train, len(self.loader))

    def train(self) -> None:
        """Go through the remaining epochs; each ends with a checkpoint."""
        settings = self.config.train
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.json").write_text(json.dumps(to_dict(self.config), indent=2))
        if self.config.data.cache:
            # Before the first step, so that a broken file does not end a run half-way.
            for dataset in (self.training, self.validation):
                dataset.preload()
        steps = len(self.loader)
        progress = Progress(
            settings.epochs * steps, done_steps=self.epoch * steps, device=self.device
        )
        while self.epoch < settings.epochs:
            row = self.train_epoch(progress)
            self.epoch += 1
            if settings.evaluate_every and self.epoch % settings.evaluate_every == 0:
                row["average_map"] = self.evaluate().average_map
                progress.say(f"epoch {self.epoch}: average mAP {100 * row['average_map']:.1f} %")
            self.history.append(row)
            self.save()
        progress.close()

    def train_epoch(self, progress: Progress) -> dict[str, float]:
        """Train on every video once; return the mean losses."""
        # All randomness of an epoch follows from its number: resuming needs no random states.
        torch.manual_seed(self.config.train.seed * 100_003 + self.epoch)
        self.order.manual_seed(self.config.train.seed * 100_003 + self.epoch)
        self.training.set_epoch(self.epoch)
        self.model.train()
        rows = []
        for batch in self.loader:
            losses = self.train_step(batch)
            rows.append(losses)
            progress.step(
                loss=losses["total"], num_snippets=len(batch["frames"]), epoch=self.epoch + 1
            )
        return {
            "step": (self.epoch + 1) * len(self.loader),
            "loss": mean_losses(rows)["total"],
            "peak_memory_mib": peak_memory_mib(self.device),
            **{f"loss/{name}": value for name, value in mean_losses(rows).items()},
        }

    def train_step(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """One ordinary step: the model hides its three stages behind one backward."""
        gt_segments = [segments.to(self.device) for segments in batch["gt_segments"]]
        gt_labels = [labels.to(self.device) for labels in batch["gt_labels"]]
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.config.train.precision == "bfloat16"
        ):
            output = self.model(batch["frames"], gt_segments)
        losses = detection_loss(
            output, gt_segments, gt_labels=gt_labels, config=self.config.detector
        )
        check_finite(losses["total"], batch["video_id"])
        self.optimizer.zero_grad()
        losses["total"].backward()
        if self.config.train.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.train.clip_norm)
        self.optimizer.step()
        self.scheduler.step()
        return {name: float(value.detach()) for name, value in losses.items()}

    def evaluate(self) -> Evaluation:
        """Compare the model with the annotations of the validation subset."""
        return evaluate(
            self.model,
            self.validation,
            self.videos.validation,
            classes=self.videos.classes,
            config=self.config,
        )

    def save(self) -> None:
        """Write everything that `resume` and `evaluate.py` need."""
        save_checkpoint(
            self.checkpoint_path,
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "epoch": self.epoch,
                "history": self.history,
                "config": to_dict(self.config),
                "classes": list(self.videos.classes),
                "commit": git_commit(),
            },
        )

    def resume(self) -> None:
        """Go on after the last epoch of the run in the folder; exactly as if it had not ended."""
        checkpoint = load_checkpoint(self.checkpoint_path)
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.scheduler.load_state_dict(checkpoint["scheduler"])
        self.epoch, self.history = checkpoint["epoch"], checkpoint["history"]


def pick_device(name: str) -> torch.device:
    """Return the device of this name; "auto" prefers CUDA."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def build_optimizer(model: ETAD, settings: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with a learning rate each for encoder and detector; frozen parameters stay out."""
    groups = [
        (model.encode, settings.encoder_learning_rate),
        (model.detector, settings.detector_learning_rate),
    ]
    return torch.optim.AdamW(
        [
            {"params": [p for p in part.parameters() if p.requires_grad], "lr": rate}
            for part, rate in groups
        ],
        weight_decay=settings.weight_decay,
    )


def build_scheduler(
    optimizer: torch.optim.Optimizer, settings: TrainConfig, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear increase, then the chosen schedule, step by step."""
    total_steps = settings.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < settings.warmup_steps:
            return (step + 1) / settings.warmup_steps
        if settings.schedule == "step":
            return 0.1 if step >= settings.step_epochs * steps_per_epoch else 1.0
        done = (step - settings.warmup_steps) / max(1, total_steps - settings.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def check_finite(loss: Tensor, video_ids: list[str]) -> None:
    """Stop before a broken loss spoils the weights."""
    if not bool(loss.isfinite()):
        raise FloatingPointError(
            f"the loss is {float(loss):g} for the videos {video_ids}. Lower the learning rates, "
            "set train.clip_norm, or look at these videos."
        )


def git_commit() -> str:
    """Return the commit of the code; empty outside of a repository."""
    result = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return result.stdout.strip()


if __name__ == "__main__":
    main()
