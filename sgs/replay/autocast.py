"""The autocast state, restored in the second pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Autocast:
    """The autocast state of the caller.

    The second pass runs in the backward, outside of the caller's `torch.autocast` block, and for
    CUDA in another thread.
    """

    device_types: tuple[tuple[str, bool, torch.dtype], ...]
    cache_enabled: bool

    @staticmethod
    def capture(devices: Iterable[torch.device]) -> Autocast:
        """Copy the state for the types of some devices."""
        types = sorted({device.type for device in devices})
        return Autocast(
            tuple((t, torch.is_autocast_enabled(t), torch.get_autocast_dtype(t)) for t in types),
            torch.is_autocast_cache_enabled(),
        )

    @property
    def dtypes(self) -> set[torch.dtype]:
        """The dtypes that autocast casts to."""
        return {dtype for _, enabled, dtype in self.device_types if enabled}

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Run the block under the captured state."""
        with ExitStack() as stack:
            for device_type, enabled, dtype in self.device_types:
                if not enabled and not torch.is_autocast_enabled(device_type):
                    continue
                autocast = torch.autocast(
                    device_type, enabled=enabled, dtype=dtype, cache_enabled=self.cache_enabled
                )
                stack.enter_context(autocast)
            yield
