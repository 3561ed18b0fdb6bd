"""The circumstances of a call, under which both passes over the items run."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sgs.batch_norm import batch_norm_buffers
from sgs.gradients.parameters import CalledParameters
from sgs.items.arguments import ItemCall
from sgs.replay.attributes import CalledAttributes
from sgs.replay.buffers import CalledBuffers
from sgs.replay.random_numbers import RandomState, random_sources
from sgs.replay.unchanged import Witness


class World:
    """What both passes must see alike: random numbers, buffers, attributes, autocast, values.

    What can be put back is put back; of what cannot, a change is refused.

    Args:
        encoder: The module that is about to be called.
        parameters: Its parameters.
        call: The items.
    """

    def __init__(self, encoder: nn.Module, parameters: CalledParameters, call: ItemCall) -> None:
        devices = _involved_devices(encoder, call.item_tensors)
        self._sources = random_sources(encoder, devices)
        self._autocast = Autocast.capture(devices)
        self._attributes = CalledAttributes(encoder)
        self._buffers = CalledBuffers(encoder, running=batch_norm_buffers(encoder))
        arguments = {f"tensor {i} of the call": tensor for i, tensor in enumerate(call.tensors)}
        self._witness = Witness(encoder, parameters.by_name, arguments)
        tensors = (*parameters.by_name.values(), *arguments.values())
        self.dtypes = {*(t.dtype for t in tensors), *self._autocast.dtypes}

    def random_state(self) -> RandomState:
        """Copy the states of all sources of random numbers."""
        return RandomState.capture(self._sources)

    @contextmanager
    def first_pass(self) -> Iterator[None]:
        """Run all micro-batches of stage 1 inside.

        Raises:
            RuntimeError: If the encoder changed its parameters or items, or some buffers without
                a trace.
        """
        with warnings.catch_warnings():
            # What reentrant checkpoints say without gradients does not hold for the second pass.
            warnings.filterwarnings("ignore", "None of the inputs have requires_grad=True")
            yield
        self._buffers.check_first_pass()
        self._witness.check_first_pass()

    @contextmanager
    def first_call(self) -> Iterator[None]:
        """Run one micro-batch of stage 1 inside.

        Raises:
            RuntimeError: If it changed the buffers in another way than the one before.
        """
        self._attributes.rewind()
        with _fast_path_disabled(), self._buffers.rewound():
            yield
        self._witness.watch_first_call()

    @contextmanager
    def second_pass(self) -> Iterator[None]:
        """Run stage 3 inside.

        Raises:
            RuntimeError: If something has changed since the call that cannot be put back.
        """
        self._witness.check_second_pass()
        with self._buffers.kept(), self._attributes.kept():
            yield

    @contextmanager
    def same_call(self, random_state: RandomState) -> Iterator[None]:
        """Run one micro-batch once more, as it ran in the first pass.

        Raises:
            RuntimeError: As `first_call`.
        """
        with self._autocast.restored(), random_state.restored(), self.first_call():
            yield


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

    @property
    def dtypes(self) -> set[torch.dtype]:
        """The precisions that operations are cast to."""
        return {dtype for _, enabled, dtype in self.device_types if enabled}

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


def _involved_devices(encoder: nn.Module, tensors: Iterable[Tensor]) -> tuple[torch.device, ...]:
    """Return the CPU and every device that holds a parameter, a buffer or an item."""
    found = {t.device for t in (*encoder.parameters(), *encoder.buffers(), *tensors)}
    others = {d for d in found if d.type not in ("cpu", "meta")}
    return (torch.device("cpu"), *sorted(others, key=str))


@contextmanager
def _fast_path_disabled() -> Iterator[None]:
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
