"""The state at the time of a call, the same for both passes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sgs.batch_norm import batch_norm_buffers
from sgs.replay.attributes import CalledAttributes
from sgs.replay.autocast import Autocast
from sgs.replay.buffers import CalledBuffers
from sgs.replay.modes_and_values import ModesAndValues
from sgs.replay.random_numbers import RandomState, random_sources


class Circumstances:
    """All state that must be the same in both passes.

    Random states, buffers, plain attributes and autocast are restored. Changes of parameters, items
    and modules are refused.

    Args:
        encoder: The encoder, before its call.
        parameters: Its parameters by name.
        tensors: The tensors among the arguments of the call.

    Attributes:
        dtypes: The precisions that the encoder may compute in.
    """

    def __init__(
        self, encoder: nn.Module, parameters: Mapping[str, Tensor], tensors: Sequence[Tensor]
    ) -> None:
        devices = _involved_devices(encoder, tensors)
        self._sources = random_sources(encoder, devices)
        self._autocast = Autocast.capture(devices)
        self._attributes = CalledAttributes(encoder)
        self._buffers = CalledBuffers(encoder, running=batch_norm_buffers(encoder))
        arguments = {f"tensor {i} of the call": tensor for i, tensor in enumerate(tensors)}
        self._modes_and_values = ModesAndValues(encoder, {**parameters, **arguments})
        dtypes = {tensor.dtype for tensor in (*parameters.values(), *tensors)}
        self.dtypes = dtypes | self._autocast.dtypes

    def random_state(self) -> RandomState:
        """Copy the states of all sources of random numbers."""
        return RandomState.capture(self._sources)

    @contextmanager
    def first_pass(self) -> Iterator[None]:
        """Set up stage 1; run all its micro-batches inside.

        Raises:
            RuntimeError: If the encoder changed its modules, parameters or items, or changed
                buffers in some micro-batches only.
        """
        with warnings.catch_warnings():
            # Reentrant checkpoints warn when no input requires a gradient. The first pass runs
            # under no_grad on purpose.
            warnings.filterwarnings("ignore", "None of the inputs have requires_grad=True")
            yield
        self._buffers.check_first_pass()
        self._modes_and_values.check_first_pass()

    @contextmanager
    def first_call(self) -> Iterator[None]:
        """Restore buffers and attributes, then run one micro-batch of stage 1 inside.

        Raises:
            RuntimeError: If it changed the buffers differently from the micro-batch before.
        """
        self._attributes.rewind()
        with _fast_path_disabled(), self._buffers.rewound():
            yield

    @contextmanager
    def second_pass(self) -> Iterator[None]:
        """Set up stage 3; run all its micro-batches inside.

        Raises:
            RuntimeError: If something changed since the call and cannot be restored.
        """
        self._modes_and_values.check_second_pass()
        with self._buffers.kept(), self._attributes.kept():
            yield

    @contextmanager
    def replayed_call(self, random_state: RandomState) -> Iterator[None]:
        """Restore all state of the first pass, then run one of its micro-batches again inside.

        Raises:
            RuntimeError: If it changed the buffers differently from the micro-batch before.
        """
        with self._autocast.restored(), random_state.restored(), self.first_call():
            yield


def _involved_devices(encoder: nn.Module, tensors: Iterable[Tensor]) -> tuple[torch.device, ...]:
    """Return the CPU and every device that holds a parameter, a buffer or an item."""
    found = {t.device for t in (*encoder.parameters(), *encoder.buffers(), *tensors)}
    others = {d for d in found if d.type not in ("cpu", "meta")}
    return (torch.device("cpu"), *sorted(others, key=str))


@contextmanager
def _fast_path_disabled() -> Iterator[None]:
    """Make attention use the same code with and without gradients.

    In evaluation mode without gradients, torch's transformer layers use a fast path, which writes
    zeros at padded positions.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
