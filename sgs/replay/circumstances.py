"""The state at the time of a call, the same for both passes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sgs.batch_norm import batch_norm_buffers
from sgs.module_tree import buffers_of, modules_of, parameters_of
from sgs.replay.autocast import Autocast
from sgs.replay.interaction import Repeatable
from sgs.replay.module_state import ModuleState
from sgs.replay.random_numbers import RandomState, random_sources
from sgs.replay.unchanged_values import UnchangedValues


class Circumstances:
    """All state that must be the same in both passes.

    Random states, autocast and the state of modules are restored. Changes of parameters and items
    are refused.

    Args:
        encoder: The encoder, before its call.
        parameters: Its parameters by name.
        tensors: The tensors among the arguments of the call.

    Attributes:
        dtypes: The precisions that the encoder may compute in.
        modules: The state of its modules.
        values: The values of parameters and items.
    """

    def __init__(
        self,
        encoder: nn.Module,
        parameters: Mapping[str, Tensor],
        tensors: Sequence[Tensor],
    ) -> None:
        modules, running = modules_of(encoder), batch_norm_buffers(encoder)
        self.modules = ModuleState(modules, running)
        devices = _involved_devices(modules.values(), tensors)
        self._sources = random_sources(self.modules.called.others.values(), devices)
        self._autocast = Autocast.capture(devices)
        arguments = {f"tensor {i} of the call": tensor for i, tensor in enumerate(tensors)}
        self.values = UnchangedValues({**parameters, **arguments})
        self.dtypes = {x.dtype for x in (*parameters.values(), *tensors)} | self._autocast.dtypes

    def random_state(self) -> RandomState:
        """Copy the states of all sources of random numbers."""
        return RandomState.capture(self._sources)

    @contextmanager
    def first_pass(self) -> Iterator[None]:
        """Set up stage 1; run all its micro-batches inside.

        Raises:
            RuntimeError: If the encoder changed its modules, parameters or items.
        """
        with warnings.catch_warnings(), _fast_path_disabled():
            # Reentrant checkpoints warn when no input requires a gradient. The first pass runs
            # under no_grad on purpose.
            warnings.filterwarnings("ignore", "None of the inputs have requires_grad=True")
            yield
        self.values.check_first_pass()
        self.values.drop_copies()
        self.modules.end_first_pass()

    def after_first(self, run: Repeatable | None) -> bool:
        """Refuse changed parameters, and go on with `ModuleState.after_first`."""
        if self.modules.num_calls == 0:
            self.values.check_first_pass()
        self.values.check_copies()
        return self.modules.after_first(run)

    @contextmanager
    def second_pass(self) -> Iterator[None]:
        """Set up stage 3; run all its micro-batches inside.

        Raises:
            RuntimeError: If parameters or items changed since the call.
        """
        self.values.check_second_pass()
        with self.modules.second_pass(), _fast_path_disabled():
            yield

    @contextmanager
    def replayed_call(self, random_state: RandomState) -> Iterator[None]:
        """Restore all state of the first pass, then run one of its micro-batches again inside."""
        self.modules.before_replay()
        with self._autocast.restored(), random_state.restored():
            yield


def is_compiled(encoder: nn.Module) -> bool:
    """Tell whether a part of an encoder was compiled."""
    modules = modules_of(encoder).values()
    return any(hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in modules)


def _involved_devices(
    modules: Iterable[nn.Module], tensors: Iterable[Tensor]
) -> tuple[torch.device, ...]:
    """Return the CPU and every device that holds a parameter, a buffer or an item."""
    found = {t.device for t in (*parameters_of(modules), *buffers_of(modules), *tensors)}
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
