"""What both passes over the items must see alike: random numbers, autocast, module mode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class RandomState:
    """The state of torch's random number generators, of the CPU and of every device involved."""

    states: tuple[tuple[torch.device, Tensor], ...]

    @staticmethod
    def capture(devices: Iterable[torch.device]) -> RandomState:
        """Copy the states; costs 5,056 bytes for the CPU and 16 for a CUDA device."""
        return RandomState(tuple((device, _get_random_state(device)) for device in devices))

    def equals(self, other: RandomState) -> bool:
        """Tell whether no random number was drawn between the two captures."""
        pairs = zip(self.states, other.states, strict=True)
        return all(torch.equal(mine, theirs) for (_, mine), (_, theirs) in pairs)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Draw the same random numbers again; the caller's states are put back at the end."""
        current = RandomState.capture(device for device, _ in self.states)
        self._set()
        try:
            yield
        finally:
            current._set()

    def _set(self) -> None:
        for device, state in self.states:
            _set_random_state(device, state)


def _get_random_state(device: torch.device) -> Tensor:
    if device.type == "cpu":
        return torch.get_rng_state()
    return torch.get_device_module(device).get_rng_state(device)  # type: ignore[no-any-return]


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cpu":
        torch.set_rng_state(state)
    else:
        torch.get_device_module(device).set_rng_state(state, device)


@dataclass(frozen=True)
class Autocast:
    """The autocast state of the caller.

    The second pass runs in the backward: after the caller has left `torch.autocast`, and for CUDA
    in another thread, where it was never entered.
    """

    device_types: tuple[tuple[str, bool, torch.dtype], ...]
    cache_enabled: bool

    @staticmethod
    def capture(devices: Iterable[torch.device]) -> Autocast:
        """Copy the state for the given devices' types."""
        types = sorted({device.type for device in devices})
        return Autocast(
            tuple((t, torch.is_autocast_enabled(t), torch.get_autocast_dtype(t)) for t in types),
            torch.is_autocast_cache_enabled(),
        )

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Run under the captured state."""
        with ExitStack() as stack:
            for device_type, enabled, dtype in self.device_types:
                autocast = torch.autocast(
                    device_type, enabled=enabled, dtype=dtype, cache_enabled=self.cache_enabled
                )
                stack.enter_context(autocast)
            yield


class Witness:
    """What may not change between the two passes, since it cannot be replayed.

    Args:
        encoder: Its modules' `training` flags and its parameters' values are watched.
        tensors: The items; their values are watched.
    """

    def __init__(self, encoder: nn.Module, tensors: Iterable[Tensor]) -> None:
        self._modes = [(name, m, m.training) for name, m in encoder.named_modules()]
        named = [
            *encoder.named_parameters(),
            *((f"item tensor {i}", t) for i, t in enumerate(tensors)),
        ]
        # Inference tensors count no versions; they cannot be changed in place by training either.
        self._versions = [(name, t, t._version) for name, t in named if not t.is_inference()]

    def check(self) -> None:
        """Refuse to replay a pass whose circumstances have changed.

        Raises:
            RuntimeError: If a module changed its mode, or a tensor was modified in place.
        """
        moved = [
            name or "the encoder" for name, module, mode in self._modes if module.training != mode
        ]
        if moved:
            raise RuntimeError(
                f"the modules {moved[:3]} changed between training and evaluation mode after the "
                "forward pass: the re-forward would see other features. Call train() or eval() "
                "after backward()."
            )
        changed = [name for name, tensor, version in self._versions if tensor._version != version]
        if changed:
            raise RuntimeError(
                f"{changed[:3]} were modified in place after the forward pass: the gradients "
                "would belong to other features. Modify them, or call optimizer.step(), after "
                "backward()."
            )


def involved_devices(encoder: nn.Module, tensors: Iterable[Tensor]) -> tuple[torch.device, ...]:
    """Return the CPU and every device that holds a parameter, a buffer or an item."""
    found = {t.device for t in (*encoder.parameters(), *encoder.buffers(), *tensors)}
    others = {d for d in found if d.type not in ("cpu", "meta")}
    return (torch.device("cpu"), *sorted(others, key=str))
