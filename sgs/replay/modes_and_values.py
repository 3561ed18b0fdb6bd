"""Refusal of changes that cannot be replayed."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def version_of(tensor: Tensor) -> int:
    """Return how often torch saw the tensor changed in place."""
    # Inference tensors have no version; they cannot be changed in place outside of inference mode.
    return 0 if tensor.is_inference() else tensor._version


class ModesAndValues:
    """Refuses changes of the encoder's modules, and of the values of some tensors.

    Changes through `.data` raise no version and are not detected here. Those that change features
    are detected by their comparison (`check_replay`).

    Args:
        encoder: The module whose submodules and `training` flags must not change.
        tensors: The tensors by name whose values must not change: parameters and arguments.
    """

    def __init__(self, encoder: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        self._encoder = encoder
        self._tensors = tensors
        self._modes = self._modes_now()
        self._versions = self._versions_now()

    def _modes_now(self) -> dict[str, tuple[int, bool]]:
        return {n: (id(m), m.training) for n, m in self._encoder.named_modules()}

    def _versions_now(self) -> dict[str, int]:
        return {name: version_of(tensor) for name, tensor in self._tensors.items()}

    def _moved(self) -> list[str]:
        now = self._modes_now()
        names = [*now, *(name for name in self._modes if name not in now)]
        return [n or "the encoder" for n in names if self._modes.get(n) != now.get(n)]

    def _modified(self) -> list[str]:
        now = self._versions_now()
        return [name for name, version in self._versions.items() if now[name] != version]

    def check_first_pass(self) -> None:
        """Refuse an encoder that changed its modules, parameters or items in the forward pass.

        Raises:
            RuntimeError: If it did.
        """
        if moved := self._moved():
            raise RuntimeError(
                f"the encoder added, replaced, removed or switched its modules {moved[:3]} in its "
                "forward pass. Call it on one item first if it builds them in its first call."
            )
        if modified := self._modified():
            raise RuntimeError(
                f"the encoder changed {modified[:3]} in its forward pass, so the second pass would "
                "start from other values and change them again. Switch that off, e.g. max_norm of "
                "an embedding, or do it before the call."
            )

    def check_second_pass(self) -> None:
        """Refuse modules and tensors that changed after the forward pass.

        Raises:
            RuntimeError: If a module was replaced or changed its mode, or a tensor was modified.
        """
        if moved := self._moved():
            raise RuntimeError(
                f"the modules {moved[:3]} changed between training and evaluation mode after the "
                "forward pass, or were replaced: the second pass would compute other features. "
                "Change them after backward()."
            )
        if modified := self._modified():
            raise RuntimeError(
                f"{modified[:3]} were modified in place after the forward pass, so the gradients "
                "would be wrong. Modify them, or call optimizer.step(), after backward()."
            )
