"""The encoder's parameters in one call, and aliases that collect their gradients."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from sgs.distributed import any_sharded, is_distributed, is_sharded
from sgs.gradients.gradient_sum import GradientSum
from sgs.module_tree import modules_of


class CalledParameters:
    """The encoder's parameters at the time of the call.

    They may differ from those before and after: `torch.func.functional_call` replaces parameters
    for one call. As in a naive graph, the gradients go to the parameters of the call.

    Args:
        encoder: The encoder, before its call.
    """

    def __init__(self, encoder: nn.Module) -> None:
        found = [
            (module, name, parameter, f"{path}.{name}" if path else name)
            for path, module in modules_of(encoder).items()
            for name, parameter in module._parameters.items()
            if parameter is not None
        ]
        self.by_name: dict[str, Tensor] = {path: parameter for _, _, parameter, path in found}
        self._places = [(module, name, parameter) for module, name, parameter, _ in found]
        distinct = {id(p): p for _, _, p in self._places if p.requires_grad}
        self.trainable: list[Tensor] = list(distinct.values())
        self._wanted = distinct.keys()
        self._aliases: dict[int, nn.Parameter] = {}
        self._sums: dict[int, GradientSum] = {}
        self.are_sharded = any_sharded(self.trainable)

    @contextmanager
    def aliased(self) -> Iterator[list[nn.Parameter | None]]:
        """Replace every parameter by a detached alias of the same memory inside the block.

        NOTE [ Why aliases ]
        The re-forward runs inside the backward of the user's loss. A nested `.backward()` onto the
        real parameters would run their hooks once per micro-batch. Those of DistributedDataParallel
        would then reduce too early, without an error. `autograd.grad` with respect to the
        parameters cannot pass through reentrant checkpoints. Gradients collected on aliases and
        returned from the outer backward run the real parameters' hooks once. The aliases stay in
        place during the micro-batch's backward, in which checkpoints inside the encoder recompute.
        Sharded parameters get no alias: FSDP2 replaces them by gathered ones in each call, and
        reduces their gradients itself.

        Yields:
            The alias of each of `trainable`; None for sharded ones.
        """
        # By identity, so that tied weights stay tied. Reused, because kept graphs hold them.
        aliases = self._aliases
        for _, _, called in self._places:
            if id(called) not in aliases and self._needs_alias(called):
                aliases[id(called)] = self._alias(called)
                self._sums[id(called)] = GradientSum(aliases[id(called)])
        places = [(m, name, aliases[id(p)]) for m, name, p in self._places if id(p) in aliases]
        present = [(module, name, module._parameters[name]) for module, name, _ in places]
        try:
            _set(places)
            yield [aliases.get(id(parameter)) for parameter in self.trainable]
        finally:
            _set(present)

    def _needs_alias(self, parameter: Tensor) -> bool:
        wanted = id(parameter) in self._wanted or parameter.requires_grad
        return wanted and not (self.are_sharded and is_sharded(parameter))

    def _alias(self, parameter: Tensor) -> nn.Parameter:
        # requires_grad as in the call; the user may have changed it since.
        alias = nn.Parameter(parameter.detach(), requires_grad=id(parameter) in self._wanted)
        if attributes := vars(parameter):
            vars(alias).update(attributes)
        if type(alias) is not type(parameter) and isinstance(parameter, nn.Parameter):
            # Keep the methods of a derived class; Python refuses classes with another layout.
            with suppress(TypeError):
                alias.__class__ = type(parameter)
        return alias

    def refuse_hooks(self) -> None:
        """Refuse hooks that the encoder registered on aliases, which the parameters would lack.

        Raises:
            RuntimeError: If there are any.
        """
        if any(alias._backward_hooks for alias in self._aliases.values()):
            names = {id(parameter): name for name, parameter in self.by_name.items()}
            hooked = [names[i] for i, alias in self._aliases.items() if alias._backward_hooks]
            raise RuntimeError(
                f"the encoder registered hooks on {hooked[:3]} in its forward pass. Do it outside "
                "of the forward pass. If only its first call does so, call it on some items before."
            )

    def restart(self) -> None:
        """Drop the gradients of an earlier, failed backward."""
        for found in self._sums.values():
            found.restart()

    def gradients(self) -> list[Tensor | None]:
        """Return the gradient of each of `trainable`, collected on its alias.

        Parameters without a gradient get None, as in a naive graph, also where only items that were
        left out use them: others cannot be told from those that no item uses. With several
        processes they get zeros, because every process must take part in the reduction of every
        parameter.
        """
        sums = [self._sums.get(id(parameter)) for parameter in self.trainable]
        gradients = [None if found is None else found.take() for found in sums]
        if not is_distributed():
            return gradients
        found = zip(gradients, self.trainable, strict=True)
        return [torch.zeros_like(p) if g is None and not is_sharded(p) else g for g, p in found]


def _set(places: Iterable[tuple[nn.Module, str, Any]]) -> None:
    """Put parameters in place, past `__setattr__`, which takes ten times as long."""
    for module, name, parameter in places:
        module._parameters[name] = parameter
