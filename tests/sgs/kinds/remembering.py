"""Encoders that remember something in plain attributes, which no list of buffers shows."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tests.sgs.kinds.arguments import SEQUENCES, VECTORS
from tests.sgs.kinds.kind import Kind, OneLayer


class AttributeCounter(OneLayer):
    """The number of calls so far scales the output."""

    def __init__(self) -> None:
        super().__init__()
        self.num_calls = 0

    def forward(self, items: Tensor) -> Tensor:
        self.num_calls += 1
        return self.linear(items).tanh() / self.num_calls


class CarriedState(nn.Module):
    """A hidden state that goes on from call to call, and so couples the items."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(4, 3, batch_first=True)
        self.state: Tensor | None = None

    def forward(self, items: Tensor) -> Tensor:
        first = items.new_zeros(1, 3) if self.state is None else self.state
        outputs, last = self.recurrent(items, first.expand(1, len(items), 3).contiguous())
        self.state = last.detach().mean(dim=1)
        return outputs.mean(dim=1)


class CachedWeight(nn.Module):
    """A product of weights kept from the first forward pass until the mode of the module changes.

    The first forward pass may run without gradients, which the kept product then lacks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randn(6, 3))
        self.right = nn.Parameter(torch.randn(3, 4))
        self.product: Tensor | None = None

    def train(self, mode: bool = True) -> "CachedWeight":
        self.product = None
        return super().train(mode)

    def forward(self, items: Tensor) -> Tensor:
        if self.product is None:
            self.product = self.left @ self.right
        return (items @ self.product).tanh()


class CachedIn(nn.Module):
    """A product of weights kept by a function, in whatever the module holds for it."""

    def __init__(self, cache: Any, lookup: Callable[[nn.Module, Callable[[], Tensor]], Tensor]):
        super().__init__()
        self.left = nn.Parameter(torch.randn(6, 3))
        self.right = nn.Parameter(torch.randn(3, 4))
        self.cache = cache
        self.lookup = lookup

    def forward(self, items: Tensor) -> Tensor:
        return (items @ self.lookup(self, lambda: self.left @ self.right)).tanh()


def in_dict(module: nn.Module, make: Callable[[], Tensor]) -> Tensor:
    if "product" not in module.cache:
        module.cache["product"] = make()
    return module.cache["product"]


def in_nested_dict(module: nn.Module, make: Callable[[], Tensor]) -> Tensor:
    return in_dict(SimpleNamespace(cache=module.cache["of weights"]), make)


class AverageOutside(OneLayer):
    """A moving average that is neither a buffer nor empty at first: it couples the items."""

    def __init__(self) -> None:
        super().__init__()
        self.average = torch.zeros(6, dtype=torch.float64)

    def forward(self, items: Tensor) -> Tensor:
        self.average = 0.5 * self.average + 0.5 * items.detach().mean(dim=0)
        return self.linear(items - self.average.to(items)).tanh()


def in_list(module: nn.Module, make: Callable[[], Tensor]) -> Tensor:
    if not module.cache:
        module.cache.append(make())
    return module.cache[0]


def in_tensor(module: nn.Module, make: Callable[[], Tensor]) -> Tensor:
    if module.cache.numel() == 0:
        module.cache = make()
    return module.cache


class HookedInFirstCall(nn.Module):
    """A hook that scales the gradient is registered in the first call, on another module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 4)
        self.is_hooked = False

    def forward(self, items: Tensor) -> Tensor:
        if not self.is_hooked:
            scale = lambda module, inputs, outputs: (0.5 * inputs[0],)  # noqa: E731
            self.second.register_full_backward_hook(scale)
            self.is_hooked = True
        return self.second(self.first(items).tanh())


class Recorder(OneLayer):
    """What it saw is kept in a list, a tensor and an object; nothing reads that."""

    def __init__(self) -> None:
        super().__init__()
        self.means: list[float] = []
        self.total = torch.zeros(6, dtype=torch.float64)
        self.seen = SimpleNamespace(count=0)

    def forward(self, items: Tensor) -> Tensor:
        self.means.append(float(items.mean()))
        self.total += items.detach().sum(dim=0)
        self.seen.count += len(items)
        self.last = self.linear(items).tanh()
        return self.last


class StandardisedByFirstItems(OneLayer):
    """The mean of the items that it sees first is subtracted from all: it couples the items."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor | None = None

    def forward(self, items: Tensor) -> Tensor:
        if self.mean is None:
            self.mean = items.detach().mean(dim=0)
        return self.linear(items - self.mean).tanh()


REMEMBERING = {
    "hooked_in_first_call": Kind(HookedInFirstCall, VECTORS),
    "recorder": Kind(Recorder, VECTORS),
    "standardised_by_first_items": Kind(StandardisedByFirstItems, VECTORS),
    "cached_in_dict": Kind(lambda: CachedIn({}, in_dict), VECTORS),
    "cached_in_nested_dict": Kind(lambda: CachedIn({"of weights": {}}, in_nested_dict), VECTORS),
    "average_outside": Kind(AverageOutside, VECTORS),
    "cached_in_list": Kind(lambda: CachedIn([], in_list), VECTORS),
    "cached_in_tensor": Kind(lambda: CachedIn(torch.empty(0), in_tensor), VECTORS),
    "counter_attribute": Kind(AttributeCounter, VECTORS),
    "carried_state": Kind(CarriedState, SEQUENCES),
    "cached_weight": Kind(CachedWeight, VECTORS),
}
