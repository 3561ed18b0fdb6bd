"""Frozen layers in front of the encoder, which run once per item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sgs.items.arguments import CallArguments


@dataclass(frozen=True)
class FrozenStem:
    """Frozen layers in front of the encoder, whose outputs are kept for the second pass.

    Args:
        module: The layers. None of their parameters may require a gradient.
        cache_device: The device on which their outputs for the sampled items are kept, e.g. "cpu";
            the device of the outputs if None.

    Raises:
        TypeError: If `module` is not a module.
        RuntimeError: If `cache_device` is not a device.

    Example:
        >>> stem = nn.Conv2d(3, 8, 3).requires_grad_(False)
        >>> FrozenStem(stem, cache_device="cpu").cache_device
        'cpu'
    """

    module: nn.Module
    cache_device: torch.device | str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.module, nn.Module):
            raise TypeError(
                f"frozen_stem={type(self.module).__name__}: expected an nn.Module, or a FrozenStem "
                "of one, since its mode and random numbers are replayed with the encoder's."
            )
        if self.cache_device is not None:
            torch.device(self.cache_device)

    @staticmethod
    def of(stem: Any) -> FrozenStem | None:
        """Return a module as a stem; a stem or None unchanged."""
        return stem if stem is None or isinstance(stem, FrozenStem) else FrozenStem(stem)

    def refuse_training(self, call: CallArguments) -> None:
        """Refuse parameters of the stem and arguments of the call that require a gradient.

        Raises:
            ValueError: If there are any, since the stem runs without a graph.
        """
        names = [name for name, p in self.module.named_parameters() if p.requires_grad]
        if names:
            raise ValueError(
                f"SequentialGradientSampler(frozen_stem=...): its parameters {names[:3]} require a "
                "gradient, but it runs without a graph. Call frozen_stem.requires_grad_(False) "
                "before making the optimizer, or make it a part of the encoder."
            )
        if any(tensor.requires_grad for tensor in call.tensors):
            raise ValueError(
                "SequentialGradientSampler(frozen_stem=...): an argument of the call requires a "
                "gradient, but frozen_stem runs without a graph. Detach the argument, or make the "
                "module a part of the encoder."
            )


def run_stem(
    stem: FrozenStem | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of the encoder: the stem's output, without a graph."""
    if stem is None:
        return args, kwargs
    with torch.no_grad():
        return (stem.module(*args, **kwargs),), {}


def with_stem(encoder: nn.Module, stem: FrozenStem | None) -> nn.Module:
    """Return one module that holds both, for their parameters and buffers; it is never called."""
    if stem is None:
        return encoder
    return nn.ModuleDict({"frozen_stem": stem.module, "encoder": encoder})
