"""The encoder's buffers, restored before each encoder call."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sgs.replay.modes_and_values import version_of


@dataclass
class _Saved:
    """A buffer of a module at the time of the call: the tensor, and a copy of its value."""

    tensor: Tensor | None
    value: Tensor | None
    version: int

    @staticmethod
    def of(tensor: Tensor | None) -> _Saved:
        if tensor is None:
            return _Saved(None, None, 0)
        return _Saved(tensor, tensor.clone(), version_of(tensor))

    def has_version_of(self, tensor: Tensor | None) -> bool:
        same = tensor is self.tensor
        return same and (tensor is None or version_of(tensor) == self.version)

    def has_value_of(self, tensor: Tensor | None) -> bool:
        if tensor is not self.tensor or tensor is None or self.value is None:
            return tensor is self.tensor
        # A tensor that cannot be compared counts as equal; its version tells of changes.
        return _are_values_equal(tensor, self.value, default=True)


Changes = dict[tuple[nn.Module, str], Tensor | None]


class CalledBuffers:
    """The values of the encoder's buffers at the time of the call.

    NOTE [ Buffers are rewound ]
    One direct call changes a buffer once: spectral normalisation makes one step of its power
    iteration, a counter counts one call. So every micro-batch of both passes starts from the values
    at the time of the call. Those after the last micro-batch of the first pass are kept. This
    equals the direct call if the change does not depend on the items. If two micro-batches change a
    buffer differently, items interact through it, and the encoder is refused.

    Args:
        encoder: The encoder, before its call.
        running: Running statistics of BatchNorm layers in training mode. They are not restored
            between the micro-batches of the first pass, only after the second pass.
    """

    def __init__(self, encoder: nn.Module, *, running: Collection[Tensor] = ()) -> None:
        self._modules = {module: name for name, module in encoder.named_modules()}
        self._running = {id(tensor) for tensor in running}
        # Buffers changed without a version count, by `.data` or kernels for running statistics.
        self._uncounted: set[int] | None = None
        self._saved = {place: _Saved.of(tensor) for place, tensor in self._places().items()}
        self._changes: Changes | None = None
        self._as_called = self._versions()

    def _versions(self) -> list[tuple[int, int]]:
        """Return the identity and version of each buffer, which are quick to compare."""
        buffers = [x for module in self._modules for x in module._buffers.values()]
        return [(id(x), 0 if x is None else version_of(x)) for x in buffers]

    def _are_as_called(self) -> bool:
        """Tell quickly whether all buffers are unchanged; False may also mean unknown."""
        is_counted = not self._running and self._uncounted is not None and not self._uncounted
        return is_counted and self._versions() == self._as_called

    def _places(self) -> Changes:
        return {(m, name): x for m in self._modules for name, x in m._buffers.items()}

    @contextmanager
    def rewound(self) -> Iterator[None]:
        """Restore the buffers of the call, then run one micro-batch inside.

        Raises:
            RuntimeError: If it changed them differently from the micro-batch before.
        """
        if not self._are_as_called():
            self._put_back(self._saved, keep=self._running)
        yield
        if self._uncounted is None:
            self._uncounted = self._changed_without_version()
        changes = self._changed()
        if self._changes is not None and not _are_equal(self._changes, changes):
            self._put_back(self._saved)
            raise RuntimeError(self._message(self._changes, changes))
        self._changes = changes

    def check_first_pass(self) -> None:
        """Refuse buffers that only later micro-batches changed, without a version count.

        Raises:
            RuntimeError: If there are any.
        """
        unseen = self._changed_without_version() - (self._uncounted or set()) - self._running
        if names := [self._name(place) for place, x in self._places().items() if id(x) in unseen]:
            raise RuntimeError(
                f"the encoder's buffers {names[:3]} were changed by some micro-batches and not by "
                "others, through .data or a kernel, so the result differs from that of one call. "
                "Put the modules that own them into eval mode."
            )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Undo all changes at the end: the first pass has made those of the call."""
        present = {place: self._present(place, tensor) for place, tensor in self._places().items()}
        try:
            yield
        finally:
            self._put_back(present)

    def _present(self, place: tuple[nn.Module, str], tensor: Tensor | None) -> _Saved:
        """Save the present value; reuse the copy of the call if it is unchanged."""
        saved = self._saved.get(place)
        unchanged = saved is not None and self._is_unchanged(saved, tensor)
        return saved if saved is not None and unchanged else _Saved.of(tensor)

    def _changed(self) -> Changes:
        changes: Changes = {}
        if self._are_as_called():
            return changes
        for place, tensor in self._places().items():
            saved = self._saved.get(place)
            if id(tensor) not in self._running and not self._is_unchanged(saved, tensor):
                changes[place] = None if tensor is None else tensor.detach().clone()
        return changes

    def _changed_without_version(self) -> set[int]:
        """Return which buffers changed without a version count. This may wait for a GPU."""
        places = self._places().items()
        saved = [(self._saved[place], tensor) for place, tensor in places if place in self._saved]
        counted = [(entry, x) for entry, x in saved if entry.has_version_of(x)]
        return {id(x) for entry, x in counted if not entry.has_value_of(x)}

    def _is_unchanged(self, saved: _Saved | None, tensor: Tensor | None) -> bool:
        if saved is None:
            return False
        if id(tensor) in self._running or id(tensor) in (self._uncounted or ()):
            return saved.has_value_of(tensor)
        return saved.has_version_of(tensor)

    def _put_back(
        self, saved: dict[tuple[nn.Module, str], _Saved], keep: Collection[int] = ()
    ) -> None:
        for module, name in self._places().keys() - saved.keys():
            del module._buffers[name]
        for (module, name), entry in saved.items():
            if module._buffers.get(name, self) is not entry.tensor:
                module._buffers[name] = entry.tensor
            if id(entry.tensor) not in keep and not self._is_unchanged(entry, entry.tensor):
                assert entry.tensor is not None
                assert entry.value is not None
                with torch.no_grad():
                    entry.tensor.copy_(entry.value)
                entry.version = version_of(entry.tensor)

    def _name(self, place: tuple[nn.Module, str]) -> str:
        return f"{self._modules[place[0]]}.{place[1]}".lstrip(".")

    def _message(self, before: Changes, now: Changes) -> str:
        different = [
            self._name(place)
            for place in {**before, **now}
            if not _same(before.get(place), now.get(place))
        ]
        return (
            f"the encoder's buffers {different[:3]} change differently in each micro-batch, so "
            "items interact through them, and the result differs from that of one call. Put the "
            "modules that own them into eval mode."
        )


def _are_equal(before: Changes, now: Changes) -> bool:
    return before.keys() == now.keys() and all(_same(before[k], now[k]) for k in now)


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and _are_values_equal(a, b, default=False))


def _are_values_equal(a: Tensor, b: Tensor, *, default: bool) -> bool:
    """Tell whether two tensors are equal, NaN included; `default` if they cannot be compared."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    try:
        if torch.equal(a, b):
            return True
        return bool(((a == b) | ((a != a) & (b != b))).all())
    except (NotImplementedError, RuntimeError):  # e.g. sparse, meta or sub-byte tensors
        return default
