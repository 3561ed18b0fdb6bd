"""What `python -m sgs` is asked: a training step, apart from the settings that are to be found."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sgs.items.frozen_stem import FrozenStem
from sgs.planning.estimate.estimate import estimate
from sgs.planning.estimate.result import Estimate
from sgs.planning.estimate.training_step import MakeOptimizer
from sgs.planning.settings.plan import plan
from sgs.planning.settings.result import Plan
from sgs.sampler import SequentialGradientSampler

OPTIMIZERS: dict[str, MakeOptimizer | None] = {
    "AdamW": torch.optim.AdamW,
    "SGD": partial(torch.optim.SGD, momentum=0.9),
    "none": None,
}


@dataclass(frozen=True)
class Question:
    """A training step whose settings are to be found.

    Attributes:
        encoder: What trains.
        frozen_stem: Runs in front of it, if there is one.
        item_shape: The shape of one item.
        dtype: Its precision.
        num_items: Items of each video.
        videos: Videos of a step; None for items without them.
        budget: The bytes of memory there are.
        ratio: Fraction of the items whose gradient SGS computes.
        optimizer: One of `OPTIMIZERS`.
        autocast: The precision of `torch.autocast`, if any.
        items_on_device: Whether all items lie on the device.
        stem_cache_on_host: Whether what the frozen stem returns is kept in host memory.
    """

    encoder: nn.Module
    frozen_stem: nn.Module | None
    item_shape: tuple[int, ...]
    dtype: torch.dtype
    num_items: int
    videos: int | None
    budget: int
    ratio: float
    optimizer: str
    autocast: torch.dtype | None
    items_on_device: bool
    stem_cache_on_host: bool

    def options(self, found: Plan | None) -> dict[str, Any]:
        """Return the numbers and names that a sampler is made with, without defaults.

        Args:
            found: The plan; the least that there is if None.
        """
        count = 1 if found is None else found.micro_batch_size
        forward = 1 if found is None else found.forward_micro_batch_size
        kept_graphs = 0 if found is None else found.kept_graphs
        return {
            "micro_batch_size": count,
            **({"forward_micro_batch_size": forward} if forward != count else {}),
            **({"kept_graphs": kept_graphs} if kept_graphs else {}),
            **({"ratio": self.ratio} if self.ratio != 1 else {}),
            **({} if self.videos is None else {"item_dim": 1}),
        }

    def sampler(self, found: Plan | None) -> SequentialGradientSampler:
        """Return the sampler of a plan."""
        device = "cpu" if self.stem_cache_on_host else None
        stem = None if self.frozen_stem is None else FrozenStem(self.frozen_stem, device)
        return SequentialGradientSampler(self.encoder, frozen_stem=stem, **self.options(found))

    def items(self, num_items: int) -> Tensor:
        """Return items without memory."""
        videos = [] if self.videos is None else [self.videos]
        shape = (*videos, num_items, *self.item_shape)
        return torch.empty(shape, dtype=self.dtype, device="meta")

    def plan(self) -> Plan:
        """Return the settings that fit.

        Raises:
            ValueError: If there are none, or as a step would.
        """
        return plan(
            self.sampler(None),
            self.items(self.num_items),
            self.budget,
            optimizer=OPTIMIZERS[self.optimizer],
            items_on_device=self.items_on_device,
            autocast=self.autocast,
        )

    def estimate(
        self, method: str, *, found: Plan | None, num_items: int | None = None
    ) -> Estimate:
        """Return what a step takes.

        Args:
            method: As of `estimate`.
            found: The plan; the least that there is if None.
            num_items: Of each video; as asked if None.
        """
        return estimate(
            self.sampler(found),
            self.items(self.num_items if num_items is None else num_items),
            method=method,
            optimizer=OPTIMIZERS[self.optimizer],
            items_on_device=self.items_on_device,
            autocast=self.autocast,
        )

    def __str__(self) -> str:
        """Say how many items of which shape."""
        videos = "" if self.videos is None else f"{self.videos} videos of "
        shape = "x".join(map(str, self.item_shape))
        return f"{videos}{self.num_items:,} items of {shape} {str(self.dtype).split('.')[-1]}"

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Name the items in the errors of a step.

        Raises:
            ArgumentTypeError: Instead of what a step raises that its arguments explain.
        """
        try:
            yield
        except (ValueError, TypeError, RuntimeError) as error:
            raise ArgumentTypeError(
                f"a training step on {self} is refused. {type(error).__name__}: {error}"
            ) from error
