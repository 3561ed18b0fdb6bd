"""`TrainingStep`: the step that a command line describes, without sizes."""

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
from sgs.planning.estimate.optimizer import MakeOptimizer
from sgs.planning.estimate.result import Estimate
from sgs.planning.settings.plan import plan
from sgs.planning.settings.result import Plan
from sgs.sampler import SequentialGradientSampler
from sgs.sizes import Sizes

OPTIMIZERS: dict[str, MakeOptimizer | None] = {
    "AdamW": torch.optim.AdamW,
    "SGD": partial(torch.optim.SGD, momentum=0.9),
    "none": None,
}
SMALLEST = Sizes(micro_batch_size=1, forward_micro_batch_size=1, kept_graphs=0)


@dataclass(frozen=True)
class TrainingStep:
    """A training step whose sizes are to be planned.

    Attributes:
        encoder: The encoder to train.
        frozen_stem: The layers before it that do not train, if any.
        item_shape: The shape of one item.
        dtype: The precision of an item.
        num_items: Items per video.
        videos: Videos per step; None for items without a dimension of videos.
        budget: The bytes of memory of the device.
        ratio: Fraction of the items whose gradient SGS computes.
        optimizer: One of `OPTIMIZERS`.
        autocast: The precision of `torch.autocast`, if any.
        items_on_device: Whether all items lie on the device.
        stem_cache_on_host: Whether the outputs of the frozen stem are kept in host memory.
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

    def options(self, sizes: Sizes) -> dict[str, Any]:
        """Return the sampler's options that are numbers, without defaults."""
        count, forward = sizes.micro_batch_size, sizes.forward_micro_batch_size
        return {
            "micro_batch_size": count,
            **({"forward_micro_batch_size": forward} if forward != count else {}),
            **({"kept_graphs": sizes.kept_graphs} if sizes.kept_graphs else {}),
            **({"ratio": self.ratio} if self.ratio != 1 else {}),
            **({} if self.videos is None else {"item_dim": 1}),
        }

    def sampler(self, sizes: Sizes) -> SequentialGradientSampler:
        """Return the sampler with given sizes."""
        device = "cpu" if self.stem_cache_on_host else None
        stem = None if self.frozen_stem is None else FrozenStem(self.frozen_stem, device)
        return SequentialGradientSampler(self.encoder, frozen_stem=stem, **self.options(sizes))

    def items(self, num_items: int) -> Tensor:
        """Return items on the meta device."""
        videos = [] if self.videos is None else [self.videos]
        shape = (*videos, num_items, *self.item_shape)
        return torch.empty(shape, dtype=self.dtype, device="meta")

    def plan(self) -> Plan:
        """Plan the sizes.

        Raises:
            ValueError: If not even micro-batches of one item fit, or the step raises it.
        """
        return plan(
            self.sampler(SMALLEST),
            self.items(self.num_items),
            self.budget,
            optimizer=OPTIMIZERS[self.optimizer],
            items_on_device=self.items_on_device,
            autocast=self.autocast,
        )

    def estimate(self, method: str, sizes: Sizes, *, num_items: int | None = None) -> Estimate:
        """Estimate the step.

        Args:
            method: Passed on to `estimate`.
            sizes: The sizes of micro-batches.
            num_items: Items per video; those of the step if None.
        """
        return estimate(
            self.sampler(sizes),
            self.items(self.num_items if num_items is None else num_items),
            method=method,
            optimizer=OPTIMIZERS[self.optimizer],
            items_on_device=self.items_on_device,
            autocast=self.autocast,
        )

    def __str__(self) -> str:
        """Return the number and shape of the items."""
        videos = "" if self.videos is None else f"{self.videos} videos of "
        shape = "x".join(map(str, self.item_shape))
        return f"{videos}{self.num_items:,} items of {shape} {str(self.dtype).split('.')[-1]}"

    @contextmanager
    def errors_explained(self) -> Iterator[None]:
        """Add the number and shape of the items to errors inside.

        Raises:
            ArgumentTypeError: In place of the errors of a step.
        """
        try:
            yield
        except (ValueError, TypeError, RuntimeError) as error:
            raise ArgumentTypeError(
                f"a training step on {self} is refused. {type(error).__name__}: {error}"
            ) from error
