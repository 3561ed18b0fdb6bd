"""`DryRun`: operations on fake tensors, which have no memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
# The bytes of a generator's state, on the CPU and on a GPU. Its copies need the values.
GENERATOR_STATES = (torch.default_generator.get_state().numel(), 16)


class DryRun(TorchDispatchMode):
    """Runs operations on fake tensors, which have a shape, a dtype and a device, but no values.

    NOTE [ Real index, fake features ]
    The engine computes with indices which items share a micro-batch, so these need values. Tensors
    created inside are therefore real unless `faking` is entered, and an operation is fake if one of
    its arguments is. Where values of fake tensors are asked for, to compare both passes or to
    branch, any two are equal and every number is 0. Random operations on fake tensors advance the
    generator that they would use; restore its state afterwards.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._is_faking = False
        self._fakes: dict[tuple[torch.Size, torch.dtype], Tensor] = {}

    @contextmanager
    def faking(self) -> Iterator[None]:
        """Let new tensors be fake inside."""
        before, self._is_faking = self._is_faking, True
        try:
            yield
        finally:
            self._is_faking = before

    def fake(self, tensor: Tensor) -> Tensor:
        """Return a fake tensor like a real, meta or fake one, in memory of its own."""
        is_fake = isinstance(tensor, FakeTensor)  # of another mode; the two cannot be mixed
        with torch.no_grad(), self.fake_mode:
            like = (
                torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu") if is_fake else tensor
            )
            fake = torch.empty_like(like, device="cpu").requires_grad_(tensor.requires_grad)
        return _as_parameter(fake) if isinstance(tensor, nn.Parameter) else fake

    def _fake_of(self, tensor: Tensor) -> Tensor:
        """Return a fake tensor, the same for all of one shape and type: making them is slow."""
        if isinstance(tensor, FakeTensor):
            return tensor
        key = tensor.shape, tensor.dtype
        if key not in self._fakes:
            self._fakes[key] = self.fake(tensor)
        return self._fakes[key]

    def copy(self, value: Any) -> Any:
        """Return a deep copy of modules or pytrees of tensors, with fake tensors in it."""
        with _FakeCopies(self):
            return copy.deepcopy(value)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation; see NOTE [ Real index, fake features ]."""
        kwargs = kwargs or {}
        if func is _ATEN._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            return torch.zeros((), dtype=args[0].dtype, device="cpu").item()
        if func is _ATEN.equal.default and any(isinstance(x, FakeTensor) for x in args):
            return args[0].shape == args[1].shape
        if any(isinstance(x, FakeTensor) for x in args):
            args = (args[0], *pytree.tree_map_only(Tensor, self._fake_of, args[1:]))
        with self.fake_mode if self._is_faking else nullcontext():
            result = func(*args, **kwargs)
        if torch.Tag.nondeterministic_seeded in func.tags:
            _draw(func, args, kwargs, result)
        return result


def _draw(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    """Advance the generator of a random operation: sgs tests whether the encoder draws."""
    arguments = {argument.name: argument.default_value for argument in func._schema.arguments}
    arguments |= dict(zip(arguments, args, strict=False)) | kwargs
    if any(isinstance(x, FakeTensor) for x in pytree.tree_leaves(result)):
        generator = arguments.get("generator")
        on_cpu = generator is None or generator.device.type == "cpu"
        # Attention is tagged as random even without dropout.
        if on_cpu and arguments.get("dropout_p") != 0.0:
            torch.empty(1, device="cpu").uniform_(generator=generator)


class _FakeCopies(TorchFunctionMode):
    """Makes the copies of tensors fake in `copy.deepcopy`."""

    def __init__(self, dry_run: DryRun) -> None:
        super().__init__()
        self._dry_run = dry_run

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.clone:  # used by `nn.Parameter.__deepcopy__`
            return self._dry_run.fake(args[0])
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if tensor.dtype is torch.uint8 and tensor.numel() in GENERATOR_STATES:
            return func(tensor, memo)  # type: ignore[no-untyped-call]
        return self._dry_run.fake(tensor)


def _as_parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=tensor.requires_grad)
