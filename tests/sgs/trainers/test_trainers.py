"""Trainers end with the same weights, with the sampler and with a naive graph."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.reference import RTOL
from tests.sgs.trainers.loops import (
    HALF_RTOL,
    WRONG,
    InMicroBatches,
    Model,
    Wrap,
    batches_of,
    by_hand,
    largest_error,
    sequential,
    update,
    with_accelerate,
    with_lightning,
)

pytestmark = [
    # Of Lightning: advice, and its own use of what torch has renamed.
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated"),
]

Train = Callable[[Model, list[Tensor]], None]

PLAIN: dict[str, Train] = {
    "lightning": lambda model, batches: with_lightning(model, batches, precision="64-true"),
    "accelerate": lambda model, batches: with_accelerate(model, batches, mixed_precision="no"),
}
HALF: dict[str, Train] = {
    "lightning": lambda model, batches: with_lightning(model, batches, precision="bf16-mixed"),
    "accelerate": lambda model, batches: with_accelerate(model, batches, mixed_precision="bf16"),
}


def trained(wrap: Wrap, train: Train, *, dtype: torch.dtype) -> dict[str, Tensor]:
    return update(wrap, lambda model: train(model, batches_of(0, dtype=dtype)), dtype=dtype)


@pytest.mark.parametrize("train", PLAIN.values(), ids=PLAIN)
def test_weights_are_those_of_naive_training(train: Train) -> None:
    expected = trained(InMicroBatches, train, dtype=torch.float64)
    got = trained(sequential, train, dtype=torch.float64)
    assert largest_error(got, expected) <= RTOL


@pytest.mark.parametrize("train", HALF.values(), ids=HALF)
def test_weights_are_those_of_naive_training_in_mixed_precision(train: Train) -> None:
    expected = trained(InMicroBatches, train, dtype=torch.float32)
    got = trained(sequential, train, dtype=torch.float32)
    assert largest_error(got, expected) <= HALF_RTOL


@pytest.mark.parametrize("train", PLAIN.values(), ids=PLAIN)
def test_trainer_does_what_the_plain_loop_does(train: Train) -> None:
    """The plain loop is what several processes are compared with."""
    expected = trained(InMicroBatches, by_hand, dtype=torch.float64)
    assert largest_error(trained(sequential, train, dtype=torch.float64), expected) <= RTOL


@pytest.mark.parametrize("train", PLAIN.values(), ids=PLAIN)
def test_other_micro_batches_give_other_weights(train: Train) -> None:
    """The negative control: dropout sees the difference."""
    expected = trained(lambda encoder: InMicroBatches(encoder, size=5), train, dtype=torch.float64)
    assert largest_error(trained(sequential, train, dtype=torch.float64), expected) > WRONG


@pytest.mark.parametrize("train", HALF.values(), ids=HALF)
def test_mixed_precision_gives_other_weights(train: Train) -> None:
    """The negative control: the precision is at work, and the tolerance sees it."""
    expected = trained(InMicroBatches, by_hand, dtype=torch.float32)
    assert largest_error(trained(sequential, train, dtype=torch.float32), expected) > WRONG


def scaled_on_cuda(wrap: Wrap) -> tuple[dict[str, Tensor], float]:
    def train(model: Model) -> None:
        model.cuda()
        optimizer = model.configure_optimizers()
        scaler = torch.amp.GradScaler("cuda", init_scale=256.0)
        torch.manual_seed(3)
        for items in batches_of(0, dtype=torch.float32):
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.float16):
                loss = model(items.cuda()).square().mean()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            scaler.step(optimizer)
            scaler.update()
        model.cpu()
        scales.append(scaler.get_scale())

    scales: list[float] = []
    return update(wrap, train, dtype=torch.float32), scales[0]


@pytest.mark.gpu
def test_weights_with_a_gradient_scaler_on_cuda_are_those_of_naive_training() -> None:
    (expected, expected_scale), (got, scale) = map(scaled_on_cuda, (InMicroBatches, sequential))
    assert scale == expected_scale
    assert largest_error(got, expected) <= HALF_RTOL
