"""Every way of training computes the same gradients, so that only time and memory differ."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmarks.training_steps import methods
from benchmarks.training_steps.problem import Problem, TemporalHead
from sgs import SequentialGradientSampler

NUM_ITEMS = 7


@pytest.fixture
def problem() -> Problem:
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Tanh()).double().requires_grad_(False)
    return Problem(
        trunk=nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).double(),
        stem=stem,
        items=torch.randn(NUM_ITEMS, 3, 4, dtype=torch.float64),
        loss_of=TemporalHead(4).double(),
        micro_batch_size=3,
    )


def gradients(problem: Problem, method: Callable[[Problem], None]) -> dict[int, Tensor]:
    for parameter in problem.trained:
        parameter.grad = None
    method(problem)
    return {number: p.grad.clone() for number, p in enumerate(problem.trained)}


def with_options(problem: Problem, **options: object) -> Callable[[Problem], None]:
    sampler = SequentialGradientSampler(problem.encoder, micro_batch_size=3, **options)
    return lambda p: methods.sampled(p, sampler)


def behind_stem(problem: Problem) -> Callable[[Problem], None]:
    sampler = SequentialGradientSampler(
        problem.trunk, micro_batch_size=3, frozen_stem=problem.stem, kept_graphs=1
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
    problem: Problem, make: Callable[[Problem], Callable[[Problem], None]]
) -> None:
    expected = gradients(problem, methods.naive)
    torch.testing.assert_close(gradients(problem, make(problem)), expected, rtol=1e-12, atol=1e-14)


def test_a_dropped_item_is_detected(problem: Problem) -> None:
    expected = gradients(problem, methods.naive)
    found = gradients(problem, lambda p: methods.hand_written(p, torch.arange(NUM_ITEMS - 1)))
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_hand_written_loop_and_sampler_agree_on_a_subset(problem: Problem) -> None:
    sampler = SequentialGradientSampler(
        problem.encoder, micro_batch_size=3, ratio=0.5, weights="none"
    )
    found = gradients(problem, lambda p: methods.sampled(p, sampler))
    index = sampler.last_index
    assert 0 < len(index) < NUM_ITEMS
    expected = gradients(problem, lambda p: methods.hand_written(p, index))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_grad_cache_replays_dropout() -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5), nn.Linear(64, 2)).double()
    problem = Problem(
        trunk=encoder,
        stem=None,
        items=torch.randn(6, 3, dtype=torch.float64),
        loss_of=lambda features: features.square().mean(),
        micro_batch_size=6,
    )

    def seeded(method: Callable[[Problem], None]) -> dict[int, Tensor]:
        torch.manual_seed(1)
        return gradients(problem, method)

    expected = seeded(methods.naive)
    torch.testing.assert_close(seeded(methods.grad_cache), expected, rtol=1e-12, atol=1e-14)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(seeded(methods.hand_written), expected, rtol=1e-12, atol=1e-14)
