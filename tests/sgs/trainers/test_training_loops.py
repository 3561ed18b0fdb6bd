"""Ordinary training loops end with the same weights, with the sampler and without it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sgs import SequentialGradientSampler
from tests.reference import RTOL, coupling_loss, relative_error

STEPS = 3
Loop = Callable[[nn.Module, list[Tensor]], nn.Module]


class Model(nn.Module):
    """An encoder and a head."""

    def __init__(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.encoder = wrap(nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 4)))
        self.head = nn.GRU(4, 3)

    def forward(self, items: Tensor) -> Tensor:
        return self.head(self.encoder(items))[0]


def accumulation(model: nn.Module, batches: list[Tensor]) -> nn.Module:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for items in batches:
        (coupling_loss(model(items)) / len(batches)).backward()
    optimizer.step()
    return model


def clipping(model: nn.Module, batches: list[Tensor]) -> nn.Module:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for items in batches:
        optimizer.zero_grad()
        coupling_loss(model(items)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
    return model


def loss_scaling(model: nn.Module, batches: list[Tensor]) -> nn.Module:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for items in batches:
        optimizer.zero_grad()
        scaler.scale(coupling_loss(model(items))).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    return model


def moving_average(model: nn.Module, batches: list[Tensor]) -> nn.Module:
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for items in batches:
        optimizer.zero_grad()
        coupling_loss(model(items)).backward()
        optimizer.step()
        average.update_parameters(model)
    return average.module


def optimizer_in_backward(model: nn.Module, batches: list[Tensor]) -> nn.Module:
    optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}

    def step(parameter: Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in optimizers:
        parameter.register_post_accumulate_grad_hook(step)
    for items in batches:
        coupling_loss(model(items)).backward()
    return model


def shared_encoder(model: nn.Module, batches: list[Tensor]) -> nn.Module:
    """Two calls of the encoder in one step, as siamese networks make."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for items in batches:
        optimizer.zero_grad()
        (coupling_loss(model(items)) * coupling_loss(model(items.flip(0)))).backward()
        optimizer.step()
    return model


LOOPS = {
    loop.__name__: loop
    for loop in (
        accumulation,
        clipping,
        loss_scaling,
        moving_average,
        optimizer_in_backward,
        shared_encoder,
    )
}


def trained(loop: Loop, wrap: Callable[[nn.Module], nn.Module]) -> list[Tensor]:
    torch.manual_seed(0)
    model = Model(wrap).double()
    batches = [torch.randn(10, 6, dtype=torch.float64) for _ in range(STEPS)]
    return [parameter.detach() for parameter in loop(model, batches).parameters()]


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_weights_are_those_of_the_direct_call(loop: Loop) -> None:
    expected = trained(loop, lambda encoder: encoder)
    got = trained(loop, lambda encoder: SequentialGradientSampler(encoder, micro_batch_size=4))
    for ours, theirs in zip(got, expected, strict=True):
        assert relative_error(ours, theirs) <= RTOL


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_subset_gives_other_weights(loop: Loop) -> None:
    """The negative control."""
    expected = trained(loop, lambda encoder: encoder)
    got = trained(
        loop, lambda encoder: SequentialGradientSampler(encoder, micro_batch_size=4, ratio=0.3)
    )
    errors = [relative_error(ours, theirs) for ours, theirs in zip(got, expected, strict=True)]
    assert max(errors) > 1e-6
