"""What may not change between the two passes, since it cannot be replayed."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor was changed in place, as far as torch counts it."""
    # Inference tensors count no versions; training cannot change them in place either.
    return 0 if tensor.is_inference() else tensor._version


class Witness:
    """The modules of the encoder and the values of some tensors, at the time of the call.

    Args:
        encoder: Its modules and their `training` flags are watched.
        tensors: The encoder's parameters, the items and what they share, by name; their values are
            watched.
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

    def _modified(self) -> list[str]:
        now = self._versions_now()
        return [name for name, version in self._versions.items() if now[name] != version]

    def check_first_pass(self) -> None:
        """Refuse an encoder that changed its parameters, or the items, in the first pass.

        Raises:
            RuntimeError: If it did.
        """
        if modified := self._modified():
            raise RuntimeError(
                f"the encoder changed {modified[:3]} in its forward pass, so the second pass would "
                "not see what the first one saw, and change it again. Switch that off, e.g. "
                "max_norm of an embedding, or do it before the call."
            )

    def check_second_pass(self) -> None:
        """Refuse to replay a pass whose circumstances have changed.

        Raises:
            RuntimeError: If a module was replaced or changed its mode, or a tensor was modified.
        """
        modes = self._modes_now()
        if moved := [n or "the encoder" for n in modes if self._modes.get(n) != modes[n]]:
            raise RuntimeError(
                f"the modules {moved[:3]} changed between training and evaluation mode after the "
                "forward pass, or were replaced: the re-forward would see other features. Do so "
                "after backward()."
            )
        if modified := self._modified():
            raise RuntimeError(
                f"{modified[:3]} were modified in place after the forward pass: the gradients would"
                " belong to other features. Modify them, or call optimizer.step(), after "
                "backward()."
            )
