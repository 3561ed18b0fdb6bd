"""The comparison of the features of both passes, and its error messages."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sgs import SequentialGradientSampler
from sgs.replay import feature_check

UNLIKE = "the second pass computed other features than the first one"


class AsksForGradients(nn.Linear):
    """Computes something else with gradients."""

    def forward(self, items: Tensor) -> Tensor:
        return super().forward(items) * (2 if torch.is_grad_enabled() else 1)


class Counts(nn.Linear):
    """Keeps its state in an iterator."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.calls = itertools.count(1)

    def forward(self, items: Tensor) -> Tensor:
        return super().forward(items) * next(self.calls)


class HoldsTensor(nn.Linear):
    """Reads a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.scale = torch.ones(4)

    def forward(self, items: Tensor) -> Tensor:
        return super().forward(items) * self.scale


class DropsOutUnseen(nn.Module):
    """Dropout that is not replayed, beside numbers that it leaves alone.

    Args:
        size: Of these numbers.
        place: What they fill: one channel of "channels last" or "channels first", or one "item".
    """

    def __init__(self, size: float, place: str) -> None:
        super().__init__()
        self.size, self.place = size, place
        self.linear = nn.Linear(16, 16)
        generator = torch.Generator().manual_seed(0)
        self.draw = lambda: torch.rand(16, generator=generator)

    def forward(self, items: Tensor) -> Tensor:
        features = self.linear(items)
        dropped = features * (self.draw() < 0.5).to(items.dtype)
        match self.place:
            case "item":
                is_large = items[:, :1, :1] > 10
                return torch.where(is_large, items[:, :1, :1], dropped)
            case "channels last":
                large = torch.full_like(dropped[:, :, :1], self.size)
                return torch.cat([dropped, large], dim=2)
            case _:
                large = torch.full_like(dropped[:, :1], self.size)
                return torch.cat([dropped, large], dim=1)


class SumsInAnotherOrder(nn.Linear):
    """Rounds differently in the second pass, as kernels for other numbers of items do."""

    def __init__(self, then: Callable[[Tensor], Tensor]) -> None:
        super().__init__(256, 64)
        self.then = then

    def forward(self, items: Tensor) -> Tensor:
        order = torch.arange(256)
        if torch.is_grad_enabled():
            order = order.roll(77)
        features = nn.functional.linear(items[:, order], self.weight[:, order])
        return self.then(nn.functional.layer_norm(features, (64,)))


def zero_but_for_rounding(features: Tensor) -> Tensor:
    return torch.cat([features * 20, (features * 20).sum(dim=1, keepdim=True)], dim=1)


def with_constants(features: Tensor) -> Tensor:
    return torch.cat([features, features[:, :1] * 0, features[:, :1] * 0 + 2e4], dim=1)


def loss_of(encoder: nn.Module, **options: object) -> Tensor:
    sampler = SequentialGradientSampler(encoder, micro_batch_size=2, **options)
    return sampler(torch.randn(5, 3)).sum()


def test_an_encoder_that_asks_for_gradients_is_named() -> None:
    with pytest.raises(RuntimeError, match=f"{UNLIKE}.*it reads torch.is_grad_enabled"):
        loss_of(AsksForGradients(3, 4)).backward()


def test_a_hidden_state_is_named() -> None:
    with pytest.raises(RuntimeError, match=f"{UNLIKE}.*neither a buffer nor an attribute"):
        loss_of(Counts()).backward()


@pytest.mark.parametrize("what", ["weight", "attribute"])
def test_values_changed_without_a_trace_are_named(what: str) -> None:
    encoder = HoldsTensor()
    loss = loss_of(encoder)
    if what == "weight":
        encoder.weight.data.mul_(2)
    else:
        encoder.scale.data.mul_(2)
    with pytest.raises(
        RuntimeError, match=f"{UNLIKE}.*weights or other tensors edited through .data"
    ):
        loss.backward()
    assert encoder.weight.grad is None


def test_the_check_can_be_switched_off() -> None:
    encoder = AsksForGradients(3, 4)
    loss_of(encoder, check_replay=False).backward()
    assert encoder.weight.grad is not None


def test_the_tolerance_decides() -> None:
    encoder = HoldsTensor()
    for tolerance, fails in ((0.2, False), (0.05, True)):
        loss = loss_of(encoder, check_replay=tolerance)
        encoder.scale.data.mul_(1.1)
        if fails:
            with pytest.raises(RuntimeError, match="more than 5e-02"):
                loss.backward()
        else:
            loss.backward()


def test_a_failed_check_does_not_spoil_the_next_backward() -> None:
    encoder = HoldsTensor()
    loss = loss_of(encoder)
    encoder.scale.data.mul_(2)
    with pytest.raises(RuntimeError, match=UNLIKE):
        loss.backward(retain_graph=True)
    encoder.scale.data.div_(2)
    loss.backward()
    assert encoder.weight.grad is not None


@pytest.mark.parametrize("place", ["channels last", "channels first", "item"])
@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4e4), (torch.bfloat16, 20.0)])
def test_large_numbers_do_not_hide_the_others(dtype: torch.dtype, size: float, place: str) -> None:
    items = torch.randn(8, 4, 16, generator=torch.Generator().manual_seed(0))
    if place == "item":
        items[3] = size
    encoder = DropsOutUnseen(size, place).to(dtype)
    features = SequentialGradientSampler(encoder, micro_batch_size=2)(items.to(dtype))
    with pytest.raises(RuntimeError, match=f"{UNLIKE}.*source of randomness"):
        features.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "then",
    [nn.Identity(), nn.ReLU(), nn.Softmax(dim=1), zero_but_for_rounding, with_constants],
)
def test_rounding_is_no_difference(then: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    encoder = SumsInAnotherOrder(then).to(dtype)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=2)
    sampler(torch.randn(5, 256).to(dtype)).sum().backward()
    assert encoder.weight.grad is not None


def test_the_check_costs_no_more_per_micro_batch_for_more_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The scales are found once per call, not once per micro-batch, each over all items."""
    scaled, scales = [], feature_check._scales
    monkeypatch.setattr(
        feature_check, "_scales", lambda rows, **of: scaled.append(len(rows)) or scales(rows, **of)
    )
    loss_of(nn.Linear(3, 4)).backward()
    assert scaled == [5]


def test_features_changed_in_place_by_the_head_are_no_difference() -> None:
    encoder = nn.Linear(3, 4)
    features = SequentialGradientSampler(encoder, micro_batch_size=2)(torch.randn(5, 3))
    features.relu_().sum().backward()
    assert encoder.weight.grad is not None


def test_equal_infinities_and_nan_are_no_difference() -> None:
    class Divides(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            return super().forward(items) + items.new_tensor([0.0, torch.inf, torch.nan, 1.0])

    loss_of(Divides(3, 4)).backward()
