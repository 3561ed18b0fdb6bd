"""What may not change between the two passes, since it cannot be replayed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

NUM_READ = 512
HAVE_NORMS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor was changed in place, as far as torch counts it."""
    # Inference tensors count no versions; training cannot change them in place either.
    return 0 if tensor.is_inference() else tensor._version


class Witness:
    """The modules of the encoder and the values of some tensors, at the time of the call.

    Args:
        encoder: Its modules and their `training` flags are watched.
        parameters: Its parameters by name, whose values are watched.
        arguments: The items and what they share, likewise.
    """

    def __init__(
        self,
        encoder: nn.Module,
        parameters: Mapping[str, Tensor],
        arguments: Mapping[str, Tensor],
    ) -> None:
        self._encoder = encoder
        self._parameters = parameters
        self._tensors = {**parameters, **arguments}
        self._modes = self._modes_now()
        self._versions = self._versions_now()
        self._norms: dict[str, float] | None = None

    def _modes_now(self) -> dict[str, tuple[int, bool]]:
        return {n: (id(m), m.training) for n, m in self._encoder.named_modules()}

    def _versions_now(self) -> dict[str, int]:
        return {name: version_of(tensor) for name, tensor in self._tensors.items()}

    def _norms_now(self) -> dict[str, float]:
        """Return the norms of the parameters: changes by way of `.data` count no version.

        Of a large one, that of some hundred of its numbers: all weights would take longer to read
        than a small micro-batch to encode.
        """
        by_device: dict[torch.device, dict[str, Tensor]] = {}
        for name, parameter in self._parameters.items():
            if _has_norm(parameter):
                part = _some_of(parameter.detach())
                by_device.setdefault(parameter.device, {})[name] = part
        found: dict[str, float] = {}
        for tensors in by_device.values():
            norms = [norm.double() for norm in torch._foreach_norm(list(tensors.values()))]
            # One read per device: each waits for a GPU.
            found |= zip(tensors, torch.stack(norms).tolist(), strict=True)
        return found

    def _moved(self) -> list[str]:
        now = self._modes_now()
        names = [*now, *(name for name in self._modes if name not in now)]
        return [n or "the encoder" for n in names if self._modes.get(n) != now.get(n)]

    def _modified(self) -> list[str]:
        now = self._versions_now()
        return [name for name, version in self._versions.items() if now[name] != version]

    def _modified_without_version(self) -> list[str]:
        now, before = self._norms_now(), self._norms or {}
        # NaN is not equal to itself.
        return [n for n, x in before.items() if now[n] != x and not math.isnan(now[n])]

    def watch_first_call(self) -> None:
        """Remember the parameters' values after the first micro-batch.

        A change that repeats itself to no effect, such as a clamp, can be replayed.
        """
        if self._norms is None:
            self._norms = self._norms_now()

    def check_first_pass(self) -> None:
        """Refuse an encoder that changed its modules or parameters, or the items, in a forward.

        Raises:
            RuntimeError: If it did.
        """
        if moved := self._moved():
            raise RuntimeError(
                f"the encoder added, replaced, removed or switched its modules {moved[:3]} in its "
                "forward pass. Call it on one item first if it builds them when it is first called."
            )
        if modified := self._modified() or self._modified_without_version():
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
        if moved := self._moved():
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


def _some_of(tensor: Tensor) -> Tensor:
    """Return a view of some hundred numbers, from all over the tensor."""
    step = tensor.numel() // NUM_READ
    return tensor.view(-1)[::step] if step > 1 and tensor.is_contiguous() else tensor


def _has_norm(parameter: Tensor) -> bool:
    # Not those of derived classes, which hold something else, and not those without arithmetic.
    plain = type(parameter) in (Tensor, nn.Parameter) and parameter.layout is torch.strided
    return plain and parameter.dtype in HAVE_NORMS and parameter.device.type != "meta"
