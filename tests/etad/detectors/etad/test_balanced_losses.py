import math

import pytest
import torch
from torch import Tensor

from examples.etad.detectors.etad.balanced_losses import (
    balanced_bce,
    masked_mean,
    sampled_bce,
    tiou_regression,
    weighted_bce,
)


def random_case(
    count: int, positives: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, list[float]]:
    logits = torch.randn(count, generator=generator, dtype=torch.float64)
    positive = torch.zeros(count, dtype=torch.bool)
    positive[torch.randperm(count, generator=generator)[:positives]] = True
    return logits, positive, logits.sigmoid().tolist()


@pytest.mark.parametrize("positives", [1, 7, 20, 39])
def test_weighted_bce_against_the_released_formula(
    positives: int, generator: torch.Generator
) -> None:
    logits, positive, probabilities = random_case(40, positives, generator)
    weight_positive, weight_negative = 0.5 * 40 / positives, 0.5 * 40 / (40 - positives)
    terms = [
        weight_positive * math.log(p) if is_positive else weight_negative * math.log(1 - p)
        for p, is_positive in zip(probabilities, positive.tolist(), strict=True)
    ]
    assert weighted_bce(logits, positive).item() == pytest.approx(-sum(terms) / 40, rel=1e-12)


@pytest.mark.parametrize("side", [False, True])
@pytest.mark.parametrize("balance", ["weighted", "sampled"])
def test_one_side_alone_gives_its_plain_mean(
    side: bool, balance: str, generator: torch.Generator
) -> None:
    logits, _, probabilities = random_case(12, 0, generator)
    found = balanced_bce(logits, torch.full((12,), side), balance=balance, generator=generator)
    expected = -sum(math.log(p if side else 1 - p) for p in probabilities) / 12
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_weighted_bce_of_known_probabilities() -> None:
    logits = torch.tensor([0.9, 0.2, 0.4], dtype=torch.float64).logit()
    found = weighted_bce(logits, torch.tensor([True, False, False]))
    expected = 0.5 * -math.log(0.9) + 0.5 * -(math.log(0.8) + math.log(0.6)) / 2
    assert found.item() == pytest.approx(expected)


def test_sampled_bce_keeps_as_many_negatives_as_positives_on_average(
    generator: torch.Generator,
) -> None:
    positive = torch.arange(1000) < 100
    logits = torch.zeros(1000, requires_grad=True)
    kept = []
    for _ in range(100):
        (gradient,) = torch.autograd.grad(
            sampled_bce(logits, positive, generator=generator), logits
        )
        assert (gradient[:100] < 0).all()
        kept.append(int((gradient[100:] > 0).sum()))
    # 90,000 draws of probability 1/9: standard deviation of the mean 0.94.
    assert sum(kept) / 100 == pytest.approx(100, abs=5)


def test_sampled_bce_divides_by_what_it_kept(generator: torch.Generator) -> None:
    logits, positive, probabilities = random_case(50, 5, generator)
    logits.requires_grad_()
    loss = sampled_bce(logits, positive, generator=generator)
    (gradient,) = torch.autograd.grad(loss, logits)
    kept = [i for i in range(50) if gradient[i] != 0]
    assert {i for i in range(50) if positive[i]} < set(kept)
    terms = [math.log(probabilities[i] if positive[i] else 1 - probabilities[i]) for i in kept]
    assert loss.item() == pytest.approx(-sum(terms) / len(kept), rel=1e-12)


def test_more_positives_than_negatives_keep_all_and_count_each_once(
    generator: torch.Generator,
) -> None:
    # The released code gives 1.398 where the positives also count as negatives.
    logits = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.9], dtype=torch.float64).logit()
    positive = torch.tensor([True, True, True, True, False])
    found = sampled_bce(logits, positive, generator=generator).item()
    assert found == pytest.approx(-(4 * math.log(0.9) + math.log(0.1)) / 5)


def test_sampling_repeats_with_its_generator_and_only_then(generator: torch.Generator) -> None:
    logits, positive, _ = random_case(200, 10, generator)
    state = generator.get_state()
    first = sampled_bce(logits, positive, generator=generator)
    other = sampled_bce(logits, positive, generator=generator)
    generator.set_state(state)
    again = sampled_bce(logits, positive, generator=generator)
    assert again.equal(first)
    assert not other.equal(first)


def test_a_generator_leaves_the_global_one_alone(generator: torch.Generator) -> None:
    before = torch.get_rng_state()
    sampled_bce(torch.zeros(9), torch.arange(9) < 2, generator=generator)
    tiou_regression(torch.zeros(9), torch.rand(9, generator=generator), regress_zero=True,
                    generator=generator)  # fmt: skip
    assert torch.get_rng_state().equal(before)


def kept_by_tiou_regression(
    tiou: Tensor, *, regress_zero: bool, generator: torch.Generator
) -> Tensor:
    predictions = (tiou + 0.1).requires_grad_()
    loss = tiou_regression(predictions, tiou, regress_zero=regress_zero, generator=generator)
    (gradient,) = torch.autograd.grad(loss, predictions)
    kept = gradient != 0
    # Every error is 0.1, so the mean over whatever was kept is 0.01.
    assert loss.item() == pytest.approx(0.01)
    return kept


def test_tiou_regression_keeps_about_as_many_of_each_group(generator: torch.Generator) -> None:
    groups = torch.tensor([0.9] * 60 + [0.5] * 300 + [0.1] * 600, dtype=torch.float64)
    counts = torch.zeros(3)
    for _ in range(100):
        kept = kept_by_tiou_regression(groups, regress_zero=True, generator=generator)
        counts += torch.tensor([part.sum() for part in kept.split([60, 300, 600])])
    assert counts[0] == 60 * 100
    assert counts[1:].tolist() == pytest.approx([6000, 6000], rel=0.05)


def test_tiou_regression_groups_end_at_0_7_and_0_3(generator: torch.Generator) -> None:
    tiou = torch.tensor([0.71, 0.7, 0.3], dtype=torch.float64)
    kept = kept_by_tiou_regression(tiou, regress_zero=True, generator=generator)
    assert kept.tolist() == [True, True, True]
    # One high proposal: of two middle ones each is kept half the time, the low one always.
    tiou = torch.tensor([0.71, 0.7, 0.31, 0.3], dtype=torch.float64)
    draws = [
        kept_by_tiou_regression(tiou, regress_zero=True, generator=generator) for _ in range(200)
    ]
    frequency = torch.stack(draws).double().mean(dim=0)
    assert frequency[[0, 3]].tolist() == [1, 1]
    assert frequency[[1, 2]].tolist() == pytest.approx([0.5, 0.5], abs=0.2)


def test_more_high_than_others_count_each_proposal_once(generator: torch.Generator) -> None:
    tiou = torch.tensor([0.9, 0.8, 0.75, 0.5, 0.1], dtype=torch.float64)
    predictions = torch.zeros(5, dtype=torch.float64)
    found = tiou_regression(predictions, tiou, regress_zero=True, generator=generator)
    assert found.item() == pytest.approx(sum(q * q for q in tiou.tolist()) / 5)


def test_tiou_of_zero_is_left_out_if_told_so(generator: torch.Generator) -> None:
    tiou = torch.tensor([0.9] * 20 + [0.0] * 10, dtype=torch.float64)
    kept = kept_by_tiou_regression(tiou, regress_zero=True, generator=generator)
    assert kept.all()
    kept = kept_by_tiou_regression(tiou, regress_zero=False, generator=generator)
    assert kept.tolist() == [True] * 20 + [False] * 10


@pytest.mark.parametrize("regress_zero", [False, True])
def test_without_high_tiou_all_proposals_count(
    regress_zero: bool, generator: torch.Generator
) -> None:
    tiou = torch.tensor([0.7, 0.2, 0.0], dtype=torch.float64)
    found = tiou_regression(
        torch.zeros(3, dtype=torch.float64), tiou, regress_zero=regress_zero, generator=generator
    )
    assert found.item() == pytest.approx((0.49 + 0.04) / 3)


def test_mean_over_no_members_is_a_zero_with_a_gradient() -> None:
    losses = torch.tensor([1.0, math.inf], requires_grad=True)
    mean = masked_mean(losses, torch.zeros(2, dtype=torch.bool))
    assert mean.item() == 0
    (gradient,) = torch.autograd.grad(mean, losses)
    assert gradient.tolist() == [0, 0]


def test_mean_over_some_members() -> None:
    losses = torch.tensor([1.0, 2.0, 6.0])
    assert masked_mean(losses, torch.tensor([True, False, True])).item() == 3.5


@pytest.mark.parametrize("balance", ["weighted", "sampled"])
def test_confident_mistakes_in_half_precision_stay_finite(
    balance: str, generator: torch.Generator
) -> None:
    logits = torch.tensor([-60.0, 60.0], dtype=torch.float16, requires_grad=True)
    loss = balanced_bce(logits, torch.tensor([True, False]), balance=balance, generator=generator)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(60)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [-0.5, 0.5]
