"""The circumstances of a call, under which both passes over the items run."""

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
from sgs.replay.forbidden_changes import ForbiddenChanges
from sgs.replay.random_numbers import RandomState, random_sources


class Circumstances:
    """What both passes must find the same: random numbers, buffers, attributes, autocast, values.

    Some of it is restored for the second pass. Changes of the rest are refused.

    Args:
        encoder: The module that is about to be called.
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
        self._forbidden = ForbiddenChanges(encoder, {**parameters, **arguments})
        dtypes = {tensor.dtype for tensor in (*parameters.values(), *tensors)}
        self.dtypes = dtypes | self._autocast.dtypes

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
            # Reentrant checkpoints warn when no input requires a gradient. The first pass runs
            # under no_grad on purpose.
            warnings.filterwarnings("ignore", "None of the inputs have requires_grad=True")
            yield
        self._buffers.check_first_pass()
        self._forbidden.check_first_pass()

    @contextmanager
    def first_call(self) -> Iterator[None]:
        """Run one micro-batch of stage 1 inside.

        Raises:
            RuntimeError: If it changed the buffers differently from the one before.
        """
        self._attributes.rewind()
        with _fast_path_disabled(), self._buffers.rewound():
            yield

    @contextmanager
    def second_pass(self) -> Iterator[None]:
        """Run stage 3 inside.

        Raises:
            RuntimeError: If something has changed since the call that cannot be put back.
        """
        self._forbidden.check_second_pass()
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
