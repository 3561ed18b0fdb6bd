"""Layers in front of the encoder that do not train, and run once per item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sgs.items.arguments import CallArguments


@dataclass(frozen=True)
class FrozenStem:
    """Layers in front of the encoder that do not train, whose outputs are kept.

    Args:
        module: Layers without parameters that require a gradient.
        cache_device: Where their outputs of the sampled items are kept for the second pass, e.g.
            "cpu"; where they are if None.

    Raises:
        TypeError: If `module` is no module.
        RuntimeError: If `cache_device` is no device.

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
                "of one; its mode and random numbers are those of the encoder."
            )
        if self.cache_device is not None:
            torch.device(self.cache_device)

    @staticmethod
    def of(stem: Any) -> FrozenStem | None:
        """Return the stem of a module; what is one, or None, as it is."""
        return stem if stem is None or isinstance(stem, FrozenStem) else FrozenStem(stem)

    def refuse_training(self, call: CallArguments) -> None:
        """Refuse parameters and arguments whose gradient would be lost here.

        Raises:
            ValueError: If a parameter of the stem, or an argument of the call, requires a gradient.
        """
        names = [name for name, p in self.module.named_parameters() if p.requires_grad]
        if names:
            raise ValueError(
                f"SequentialGradientSampler(frozen_stem=...): its parameters {names[:3]} require a "
                "gradient, and it runs without a graph. Call frozen_stem.requires_grad_(False) "
                "before the optimizer is made, or put it into the encoder."
            )
        if any(tensor.requires_grad for tensor in call.tensors):
            raise ValueError(
                "SequentialGradientSampler(frozen_stem=...): an argument of the call requires its "
                "gradient, which frozen_stem would lose, since it runs without a graph. Detach it, "
                "or put the module into the encoder."
            )


def run_stem(
    stem: FrozenStem | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of the encoder: what the stem returns, outside of any graph."""
    if stem is None:
        return args, kwargs
    with torch.no_grad():
        return (stem.module(*args, **kwargs),), {}


def with_stem(encoder: nn.Module, stem: FrozenStem | None) -> nn.Module:
    """Return one module that holds both, to look at and not to call."""
    if stem is None:
        return encoder
    return nn.ModuleDict({"frozen_stem": stem.module, "encoder": encoder})
