"""Refusal of changed parameters and items, whose values cannot be restored."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sgs.distributed import is_sharded
from sgs.replay.sameness import are_equal, version_of

NONE: list[int] = []


class UnchangedValues:
    """Refuses changes of the values of some tensors, and hooks that are registered on them.

    Changes through `.data` raise no version. Those that change features are detected by their
    comparison (`check_replay`), those of a first call by `check_copies`.

    Args:
        tensors: The tensors by name: parameters and arguments.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._called = self._now()
        self._copies: dict[str, Tensor] = {}

    def _now(self) -> list[tuple[int, list[int]]]:
        return [(version_of(x), _hooks_of(x)) for x in self._tensors.values()]

    def _changed(self, what: int) -> list[str]:
        found = zip(self._tensors, self._called, self._now(), strict=True)
        return [name for name, before, now in found if before[what] != now[what]]

    def check_first_pass(self) -> None:
        """Refuse an encoder that changed parameters or items, or hooked them, in its forward pass.

        Raises:
            RuntimeError: If it did.
        """
        if self._now() == self._called:
            return
        what = f"changed {modified[:3]}" if (modified := self._changed(0)) else ""
        what = what or f"registered hooks on {self._changed(1)[:3]}"
        raise RuntimeError(
            f"the encoder {what} in its forward pass, so each micro-batch of both passes would do "
            "so again. Switch that off, e.g. max_norm of an embedding, or do it outside of the "
            "forward pass. If only its first call does so, call it on some items before."
        )

    def copy(self) -> None:
        """Keep the values of the parameters of this process."""
        own = {n: x for n, x in self._tensors.items() if isinstance(x, nn.Parameter)}
        self._copies = {n: x.detach().clone() for n, x in own.items() if not is_sharded(x)}

    def check_copies(self) -> None:
        """Refuse an encoder that sets its parameters again if its state was put back.

        Raises:
            RuntimeError: If it did; the parameters then have the values that were kept.
        """
        found = {n: (self._tensors[n], copy) for n, copy in self._copies.items()}
        changed = {n: pair for n, pair in found.items() if not _is_kept(*pair)}
        with torch.no_grad():
            for tensor, copy in changed.values():
                tensor.copy_(copy)
        if changed:
            self.drop_copies()
            raise RuntimeError(
                f"the encoder sets its parameters {[*changed][:3]} through .data in its forward "
                "pass, so each micro-batch would set them again. Do it outside of the forward "
                "pass. If only its first call does so, call it on some items before."
            )

    def drop_copies(self) -> None:
        """Free the values that were kept."""
        self._copies = {}

    def check_second_pass(self) -> None:
        """Refuse tensors that changed after the forward pass.

        Raises:
            RuntimeError: If a tensor was modified.
        """
        if modified := self._changed(0):
            raise RuntimeError(
                f"{modified[:3]} were modified in place after the forward pass, so the gradients "
                "would be wrong. Modify them, or call optimizer.step(), after backward()."
            )


def _hooks_of(tensor: Tensor) -> list[int]:
    before, after = tensor._backward_hooks, tensor._post_accumulate_grad_hooks
    return [*(before or ()), *(after or ())] if before or after else NONE


def _is_kept(tensor: Tensor, copy: Tensor) -> bool:
    # A layer may cast its weights in the first call.
    return are_equal(tensor, copy.to(tensor.dtype))
