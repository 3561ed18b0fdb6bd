"""What both passes over the items must see alike: random numbers, autocast, module mode."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
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
        encoder: Its modules' `training` flags, its parameters and its buffers are watched.
        tensors: The items and what they share; their values are watched.
    """

    def __init__(self, encoder: nn.Module, tensors: Iterable[Tensor]) -> None:
        self._encoder = encoder
        self._tensors = {f"tensor {i} of the call": tensor for i, tensor in enumerate(tensors)}
        self._modes = {name: module.training for name, module in encoder.named_modules()}
        self._before = self._versions()

    def _versions(self) -> dict[str, tuple[Tensor, int]]:
        named = {
            **dict(self._encoder.named_parameters(remove_duplicate=False)),
            **dict(self._encoder.named_buffers(remove_duplicate=False)),
            **self._tensors,
        }
        # Inference tensors count no versions; training cannot change them in place either.
        return {n: (t, 0 if t.is_inference() else t._version) for n, t in named.items()}

    def _changed(self) -> list[str]:
        now = self._versions()
        names = [*self._before, *(now.keys() - self._before.keys())]
        return [name for name in names if not _is_same(self._before.get(name), now.get(name))]

    def check_first_pass(self, *, allowed: Collection[Tensor]) -> None:
        """Refuse an encoder that changed itself in the first pass.

        Args:
            allowed: Buffers that may change, since somebody puts them back.

        Raises:
            RuntimeError: If something else changed.
        """
        permitted = {id(tensor) for tensor in allowed}
        changed = [
            n for n in self._changed() if id(self._before.get(n, (None,))[0]) not in permitted
        ]
        if changed:
            raise RuntimeError(
                f"the encoder changed its own {changed[:3]} in the forward pass, so the second "
                "pass would not see what the first one saw, and change it again. Put the modules "
                "that own it into eval mode, e.g. spectral normalization."
            )
        self._before = self._versions()

    def check_second_pass(self) -> None:
        """Refuse to replay a pass whose circumstances have changed.

        Raises:
            RuntimeError: If a module changed its mode, or a tensor was modified or replaced.
        """
        modes = {name: module.training for name, module in self._encoder.named_modules()}
        moved = [
            name or "the encoder" for name, mode in modes.items() if self._modes.get(name) != mode
        ]
        if moved:
            raise RuntimeError(
                f"the modules {moved[:3]} changed between training and evaluation mode after the "
                "forward pass, or were replaced: the re-forward would see other features. Call "
                "train() or eval() after backward()."
            )
        changed = self._changed()
        if changed:
            raise RuntimeError(
                f"{changed[:3]} were modified in place or replaced after the forward pass: the "
                "gradients would belong to other features. Modify them, or call optimizer.step(), "
                "after backward()."
            )


def _is_same(before: tuple[Tensor, int] | None, now: tuple[Tensor, int] | None) -> bool:
    return before is not None and now is not None and before[0] is now[0] and before[1] == now[1]


def involved_devices(encoder: nn.Module, tensors: Iterable[Tensor]) -> tuple[torch.device, ...]:
    """Return the CPU and every device that holds a parameter, a buffer or an item."""
    found = {t.device for t in (*encoder.parameters(), *encoder.buffers(), *tensors)}
    others = {d for d in found if d.type not in ("cpu", "meta")}
    return (torch.device("cpu"), *sorted(others, key=str))


@contextmanager
def fast_path_disabled() -> Iterator[None]:
    """Keep attention on the path that it takes with gradients.

    Without gradients and in evaluation mode, torch's transformer layers take another one, which
    writes zeros at padded positions.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
