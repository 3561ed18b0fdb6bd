"""The comparison of the features of both passes, and its error messages."""

import itertools

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
        encoder.scale.mul_(2)
    with pytest.raises(RuntimeError, match=f"{UNLIKE}.*weights edited through .data"):
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
        encoder.scale.mul_(1.1)
        if fails:
            with pytest.raises(RuntimeError, match="more than 5e-02"):
                loss.backward()
        else:
            loss.backward()


def test_a_failed_check_does_not_spoil_the_next_backward() -> None:
    encoder = HoldsTensor()
    loss = loss_of(encoder)
    encoder.scale.mul_(2)
    with pytest.raises(RuntimeError, match=UNLIKE):
        loss.backward(retain_graph=True)
    encoder.scale.div_(2)
    loss.backward()
    assert encoder.weight.grad is not None


def test_the_check_costs_no_more_per_micro_batch_for_more_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One scale per call, not one per micro-batch, each over all items."""
    scaled = []
    monkeypatch.setattr(
        feature_check, "_scale", lambda rows: scaled.append(len(rows)) or torch.ones(())
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
