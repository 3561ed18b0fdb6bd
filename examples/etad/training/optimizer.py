"""The optimizer, and the learning rate over the steps of a run."""

import math

import torch

from examples.etad.end_to_end import ETAD
from examples.etad.settings.config import TrainConfig


def build_optimizer(model: ETAD, settings: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW with one learning rate for the encoder and one for the detector.

    Frozen parameters stay out.
    """
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
    """Return a linear increase followed by the chosen schedule, to be advanced at every step."""
    total_steps = settings.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < settings.warmup_steps:
            return (step + 1) / settings.warmup_steps
        if settings.schedule == "step":
            return 0.1 if step >= settings.step_epochs * steps_per_epoch else 1.0
        done = (step - settings.warmup_steps) / max(1, total_steps - settings.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
