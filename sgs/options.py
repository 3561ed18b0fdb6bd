"""The options of `SequentialGradientSampler`, as attributes that are checked when they are set."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import nn

from samplers import AbstractSampler
from sgs.call_history import CallHistory
from sgs.encoder_checks import check_call
from sgs.items.arguments import CallArguments
from sgs.items.frozen_stem import FrozenStem, with_stem
from sgs.option_checks import CHECKS, check_weighting
from sgs.sizes import AbstractBudget, Sizes, given_sizes
from sgs.subset import SubsetDraw


class Options(nn.Module):
    """The options of `SequentialGradientSampler`, described in its docstring."""

    encoder: nn.Module
    micro_batch_size: int | AbstractBudget
    forward_micro_batch_size: int | None
    kept_graphs: int
    ratio: float
    sampler: AbstractSampler
    weights: str
    item_dim: int
    generator: torch.Generator | None
    allow_batch_norm: bool
    frozen_stem: Any  # set to a module or a `FrozenStem`, kept as the module
    stem_cache_device: torch.device | str | None
    check_replay: bool | float
    history: CallHistory

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, after checking it if it is an option."""
        if name == "frozen_stem":
            stem = FrozenStem.of(value)
            self.stem_cache_device = None if stem is None else stem.cache_device
            value = None if stem is None else stem.module
        super().__setattr__(name, CHECKS[name](value) if name in CHECKS else value)

    def extra_repr(self) -> str:
        """Show the options."""
        names = ("micro_batch_size", "forward_micro_batch_size", "ratio", "sampler", "weights")
        return ", ".join(f"{x}={getattr(self, x)!r}" for x in (*names, "item_dim", "kept_graphs"))

    @property
    def stem(self) -> FrozenStem | None:
        """The frozen layers in front of the encoder, if any."""
        module = self.frozen_stem
        return None if module is None else FrozenStem(module, self.stem_cache_device)

    @property
    def draw(self) -> SubsetDraw:
        """The rule that draws the subset."""
        return SubsetDraw(self.sampler, self.ratio, self.weights, self.generator)

    @property
    def sizes(self) -> Sizes:
        """The sizes in use: those given, or chosen by the budget for the last call."""
        size, chosen = self.micro_batch_size, self.history.chosen
        given = given_sizes(size, self.forward_micro_batch_size, self.kept_graphs)
        return chosen if chosen is not None and isinstance(size, AbstractBudget) else given

    def items_of(
        self, encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> CallArguments:
        """Check the encoder and the arguments of a call, and return the arguments.

        Args:
            encoder: The encoder without DistributedDataParallel around it.
            args: The arguments of the call.
            kwargs: The keyword arguments of the call.

        Raises:
            TypeError: If tensors are hidden in an argument, e.g. in a dataclass.
            ValueError: If the arguments cannot be cut into items, or the encoder cannot be trained
                in its state, e.g. with BatchNorm layers in training mode.
            RuntimeError: If the encoder is sharded in an unsupported way.
        """
        check_weighting(self.sampler, ratio=self.ratio, weights=self.weights)
        check_call(with_stem(encoder, self.stem), allow_batch_norm=self.allow_batch_norm)
        first = next(chain(encoder.parameters(), encoder.buffers()), None)
        device = None if first is None else first.device
        items = CallArguments(args, kwargs, item_dim=self.item_dim, device=device)
        if self.stem is not None:
            self.stem.refuse_training(items)
        return items
