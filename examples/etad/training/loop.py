"""The training loop: epochs, steps, and a checkpoint after every epoch."""

import json
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from examples.etad.data.dataset import Batch, Item, VideoDataset, collate
from examples.etad.data.from_settings import Videos, open_dataset
from examples.etad.data.snippets.augmentation import Augmentation
from examples.etad.detectors.etad.losses import detection_loss
from examples.etad.end_to_end import ETAD
from examples.etad.evaluation.evaluate_model import Evaluation, evaluate
from examples.etad.settings.config import Config
from examples.etad.settings.loading import to_dict
from examples.etad.training.checkpoint import git_commit, load_checkpoint, save_checkpoint
from examples.etad.training.devices import pick_device
from examples.etad.training.finite_checks import check_gradients, check_loss, check_weights
from examples.etad.training.optimizer import build_optimizer, build_scheduler
from examples.etad.training.progress import Progress, mean_losses, peak_memory_mib


class Run:
    """One training run: its model, data and optimizer, and how far it is."""

    def __init__(self, config: Config, videos: Videos, folder: Path) -> None:
        self.config, self.videos, self.folder = config, videos, folder
        self.checkpoint_path = folder / "checkpoint.pt"
        self.history: list[dict[str, float]] = []
        self.epoch = 0
        self.device = pick_device(config.train.device)
        torch.manual_seed(config.train.seed)
        # If there is a checkpoint, `resume` loads all weights from it.
        pretrained = not self.checkpoint_path.exists()
        self.model = ETAD(config, pretrained=pretrained).to(self.device)
        self.training, self.validation = _open_datasets(videos, config)
        self.order = torch.Generator()
        self.loader = _load_batches(self.training, config, order=self.order)
        self.optimizer = build_optimizer(self.model, config.train)
        self.scheduler = build_scheduler(self.optimizer, config.train, len(self.loader))

    def train(self) -> None:
        """Train the remaining epochs, with a checkpoint after each."""
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
        # Each epoch is seeded by its number, so resuming needs no random states.
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
        means = mean_losses(rows)
        return {
            "step": (self.epoch + 1) * len(self.loader),
            "loss": means["total"],
            "peak_memory_mib": peak_memory_mib(self.device),
            **{f"loss/{name}": value for name, value in means.items()},
        }

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Run one step of an ordinary loop; the three stages of SGS are inside of the model."""
        gt_segments = [segments.to(self.device) for segments in batch["gt_segments"]]
        gt_labels = [labels.to(self.device) for labels in batch["gt_labels"]]
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.config.train.precision == "bfloat16"
        ):
            output = self.model(batch["frames"], gt_segments)
        losses = detection_loss(
            output, gt_segments, gt_labels=gt_labels, config=self.config.detector
        )
        check_loss(losses["total"], batch["video_id"])
        self.optimizer.zero_grad()
        losses["total"].backward()
        self._clip_gradients(batch["video_id"])
        self.optimizer.step()
        self.scheduler.step()
        return {name: float(value.detach()) for name, value in losses.items()}

    def _clip_gradients(self, video_ids: list[str]) -> None:
        """Limit the norm of all gradients, if the settings do, once it is known to be finite."""
        parameters = list(self.model.parameters())
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        check_gradients(self.model, norm, video_ids=video_ids)
        if self.config.train.clip_norm:
            nn.utils.clip_grads_with_norm_(parameters, self.config.train.clip_norm, norm)

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
        check_weights(self.model)
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
        """Continue after the last epoch in the folder, with the results of an uninterrupted run."""
        checkpoint = load_checkpoint(self.checkpoint_path)
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.scheduler.load_state_dict(checkpoint["scheduler"])
        self.epoch, self.history = checkpoint["epoch"], checkpoint["history"]


def _open_datasets(videos: Videos, config: Config) -> tuple[VideoDataset, VideoDataset]:
    """Return the videos to train on, augmented, and those to evaluate on."""
    augmentation = Augmentation(
        seed=config.train.seed,
        random_crop=config.data.random_crop,
        horizontal_flip=config.data.horizontal_flip,
    )
    return (
        open_dataset(
            videos.training, config.data, classes=videos.classes, augmentation=augmentation
        ),
        open_dataset(videos.validation, config.data, classes=videos.classes),
    )


def _load_batches(
    dataset: VideoDataset, config: Config, *, order: torch.Generator
) -> DataLoader[Item]:
    """Return batches of training videos, shuffled by `order`."""
    return DataLoader(
        dataset,
        batch_size=config.train.batch_size,
        shuffle=True,
        generator=order,
        drop_last=len(dataset) > config.train.batch_size,
        num_workers=config.data.num_workers,
        persistent_workers=config.data.num_workers > 0,
        collate_fn=collate,
    )
