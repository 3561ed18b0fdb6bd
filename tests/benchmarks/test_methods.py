"""Every way of training computes the same gradients, so that only time and memory differ."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmarks.training_steps import methods
from benchmarks.training_steps.workload import TemporalHead, Workload
from sgs import SequentialGradientSampler

NUM_ITEMS = 7


@pytest.fixture
def workload() -> Workload:
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Tanh()).double().requires_grad_(False)
    return Workload(
        trunk=nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).double(),
        stem=stem,
        items=torch.randn(NUM_ITEMS, 3, 4, dtype=torch.float64),
        loss_of=TemporalHead(4).double(),
        micro_batch_size=3,
    )


def gradients(workload: Workload, method: Callable[[Workload], None]) -> dict[int, Tensor]:
    for parameter in workload.trained:
        parameter.grad = None
    method(workload)
    return {number: p.grad.clone() for number, p in enumerate(workload.trained)}


def with_options(workload: Workload, **options: object) -> Callable[[Workload], None]:
    sampler = SequentialGradientSampler(workload.encoder, micro_batch_size=3, **options)
    return lambda p: methods.sampled(p, sampler)


def behind_stem(workload: Workload) -> Callable[[Workload], None]:
    sampler = SequentialGradientSampler(
        workload.trunk, micro_batch_size=3, frozen_stem=workload.stem, kept_graphs=1
    )
    return lambda p: methods.sampled(p, sampler)


@pytest.mark.parametrize(
    "make",
    [
        lambda _: methods.checkpointed,
        lambda _: methods.checkpointed_behind_stem,
        lambda _: methods.grad_cache,
        lambda _: methods.hand_written,
        with_options,
        lambda p: with_options(p, kept_graphs=2),
        lambda p: with_options(p, forward_micro_batch_size=5),
        behind_stem,
    ],
)
def test_every_method_computes_the_gradients_of_the_naive_one(
    workload: Workload, make: Callable[[Workload], Callable[[Workload], None]]
) -> None:
    expected = gradients(workload, methods.naive)
    torch.testing.assert_close(
        gradients(workload, make(workload)), expected, rtol=1e-12, atol=1e-14
    )


def test_a_dropped_item_is_detected(workload: Workload) -> None:
    expected = gradients(workload, methods.naive)
    found = gradients(workload, lambda p: methods.hand_written(p, torch.arange(NUM_ITEMS - 1)))
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_hand_written_loop_and_sampler_agree_on_a_subset(workload: Workload) -> None:
    sampler = SequentialGradientSampler(
        workload.encoder, micro_batch_size=3, ratio=0.5, weights="none"
    )
    found = gradients(workload, lambda p: methods.sampled(p, sampler))
    index = sampler.last_index
    assert 0 < len(index) < NUM_ITEMS
    expected = gradients(workload, lambda p: methods.hand_written(p, index))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_grad_cache_replays_dropout() -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5), nn.Linear(64, 2)).double()
    workload = Workload(
        trunk=encoder,
        stem=None,
        items=torch.randn(6, 3, dtype=torch.float64),
        loss_of=lambda features: features.square().mean(),
        micro_batch_size=6,
    )

    def seeded(method: Callable[[Workload], None]) -> dict[int, Tensor]:
        torch.manual_seed(1)
        return gradients(workload, method)

    expected = seeded(methods.naive)
    torch.testing.assert_close(seeded(methods.grad_cache), expected, rtol=1e-12, atol=1e-14)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(seeded(methods.hand_written), expected, rtol=1e-12, atol=1e-14)
