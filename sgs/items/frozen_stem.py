"""What runs in front of the encoder: preprocessing, and a stem that does not train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sgs.items.arguments import ItemCall


@dataclass(frozen=True)
class Front:
    """The modules in front of the encoder, as `nn.Sequential(preprocess, frozen_stem, encoder)`.

    Attributes:
        preprocess: Normalises or crops; runs in both passes, unless a stem follows.
        frozen_stem: Layers without gradients, whose outputs are kept for the second pass.
        cache_device: Where these are kept; where they are if None.
    """

    preprocess: nn.Module | None = None
    frozen_stem: nn.Module | None = None
    cache_device: torch.device | None = None

    def __call__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the encoder, outside of any graph."""
        with torch.no_grad():
            for module in (self.preprocess, self.frozen_stem):
                if module is not None:
                    args, kwargs = (module(*args, **kwargs),), {}
        return args, kwargs

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The modules that there are, by name."""
        named = {"preprocess": self.preprocess, "frozen_stem": self.frozen_stem}
        return {name: module for name, module in named.items() if module is not None}

    def before(self, encoder: nn.Module) -> nn.Module:
        """Return one module that holds these and the encoder; the encoder itself if there are none.

        It is for looking at, not for calling.
        """
        return nn.ModuleDict({**self.modules, "encoder": encoder}) if self.modules else encoder

    def refuse_training(self, call: ItemCall) -> None:
        """Refuse parameters and arguments whose gradient would be lost here.

        Raises:
            ValueError: If a module has parameters that require a gradient, or there is one and an
                argument of the call requires its gradient.
        """
        for option, module in self.modules.items():
            names = [name for name, p in module.named_parameters() if p.requires_grad]
            if names:
                raise ValueError(
                    f"SequentialGradientSampler({option}=...): its parameters {names[:3]} require a"
                    f" gradient, and it runs without a graph. Call {option}.requires_grad_(False) "
                    "before the optimizer is made, or put it into the encoder."
                )
            if any(tensor.requires_grad for tensor in call.tensors):
                raise ValueError(
                    f"SequentialGradientSampler({option}=...): an argument of the call requires its"
                    f" gradient, which {option} would lose, since it runs without a graph. Detach "
                    "it, or put the module into the encoder."
                )
