"""Soft-NMS against hand arithmetic and against a loop over lists."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from examples.etad.detectors.soft_nms import soft_nms

seeds = st.integers(0, 2**32 - 1)


def segments(*rows: tuple[float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 2)


def scores(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random_candidates(seed: int, count: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    bounds = torch.rand(count, 2, generator=generator, dtype=torch.float64).sort(dim=1).values
    confidence = torch.rand(count, generator=generator, dtype=torch.float64)
    return bounds, confidence, torch.randint(0, 3, (count,), generator=generator)


def slow_tiou(first: list[float], second: list[float]) -> float:
    intersection = max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
    return intersection / (first[1] - first[0] + second[1] - second[0] - intersection)


def slow_soft_nms(
    bounds: Tensor, confidence: Tensor, labels: Tensor, *, sigma: float, max_detections: int
) -> list[tuple[int, float]]:
    rows, classes = bounds.tolist(), labels.tolist()
    remaining = dict(enumerate(confidence.tolist()))
    picked = []
    while remaining and len(picked) < max_detections:
        best = max(remaining, key=lambda index: remaining[index])
        picked.append((best, remaining.pop(best)))
        for index in remaining:
            overlap = slow_tiou(rows[best], rows[index])
            if overlap > 0 and classes[best] == classes[index]:
                remaining[index] *= math.exp(-(overlap**2) / sigma)
    return picked


def test_overlap_lowers_the_score_and_the_order():
    # [0, 10] and [5, 15] share 5 of 15 seconds: 0.8 exp(-(1/3)^2 / 0.35) = 0.582 falls behind 0.7.
    index, lowered = soft_nms(segments((5, 15), (20, 30), (0, 10)), scores(0.8, 0.7, 0.9))
    assert index.tolist() == [2, 1, 0]
    expected = [0.9, 0.7, 0.8 * math.exp(-1 / 9 / 0.35)]
    assert lowered.tolist() == pytest.approx(expected, rel=1e-12)


def test_decays_multiply_over_picks():
    # Four identical segments: every pick multiplies the rest by exp(-1 / sigma).
    index, lowered = soft_nms(segments(*[(0, 4)] * 4), scores(1, 1, 1, 1), sigma=0.5)
    assert index.tolist() == [0, 1, 2, 3]
    assert lowered.tolist() == pytest.approx([math.exp(-2 * k) for k in range(4)], rel=1e-12)


def test_two_candidates_give_two_detections():
    index, _ = soft_nms(segments((0, 4), (1, 5)), scores(0.4, 0.6))
    assert index.tolist() == [1, 0]


@pytest.mark.parametrize("count", [0, 1])
def test_few_candidates_pass_unchanged(count: int):
    index, lowered = soft_nms(segments((0, 4))[:count], scores(0.4)[:count])
    assert index.tolist() == [0][:count]
    assert index.dtype == torch.int64
    assert lowered.tolist() == [0.4][:count]


def test_the_first_of_equal_scores_is_picked_first():
    index, _ = soft_nms(segments((0, 1), (2, 3), (4, 5)), scores(0.5, 0.5, 0.5))
    assert index.tolist() == [0, 1, 2]


def test_segments_that_only_touch_or_have_no_length_do_not_suppress():
    _, lowered = soft_nms(segments((0, 2), (2, 4), (1, 1), (1, 1)), scores(0.9, 0.8, 0.7, 0.6))
    assert lowered.tolist() == [0.9, 0.8, 0.7, 0.6]


def test_labels_keep_classes_apart():
    bounds, labels = segments((0, 4), (0, 4), (0, 4)), torch.tensor([1, 0, 1])
    index, lowered = soft_nms(bounds, scores(0.9, 0.8, 0.7), labels=labels)
    assert index.tolist() == [0, 1, 2]
    assert lowered.tolist() == pytest.approx([0.9, 0.8, 0.7 * math.exp(-1 / 0.35)], rel=1e-12)


def test_max_detections_counts_over_all_classes():
    bounds, confidence, labels = random_candidates(1)
    few, _ = soft_nms(bounds, confidence, labels=labels, max_detections=5)
    many, _ = soft_nms(bounds, confidence, labels=labels)
    assert few.tolist() == many[:5].tolist()


def test_min_score_drops_what_fell_below_it():
    # exp(-1 / 0.35) = 0.057: the copy falls from 0.8 to 0.046; a score of exactly 0.5 stays.
    candidates = segments((0, 4), (0, 4), (10, 12)), scores(0.9, 0.8, 0.5)
    index, _ = soft_nms(*candidates, min_score=0.5)
    assert index.tolist() == [0, 2]


def test_decay_that_underflows_picks_nothing_twice():
    index, lowered = soft_nms(segments(*[(0, 4)] * 3), scores(0.9, 0.8, 0.7), sigma=1e-5)
    assert sorted(index.tolist()) == [0, 1, 2]
    assert lowered.tolist() == [0.9, 0.0, 0.0]


def test_inputs_are_not_changed():
    bounds, confidence, _ = random_candidates(2)
    before = bounds.clone(), confidence.clone()
    soft_nms(bounds, confidence)
    assert torch.equal(bounds, before[0])
    assert torch.equal(confidence, before[1])


@given(seeds, st.integers(1, 14), st.sampled_from([0.1, 0.35, 2.0]))
def test_soft_nms_against_the_slow_loop(seed: int, max_detections: int, sigma: float):
    bounds, confidence, labels = random_candidates(seed)
    for classes in (None, labels):
        index, lowered = soft_nms(
            bounds, confidence, sigma=sigma, max_detections=max_detections, labels=classes
        )
        expected = slow_soft_nms(
            bounds,
            confidence,
            labels if classes is not None else labels * 0,
            sigma=sigma,
            max_detections=max_detections,
        )
        assert index.tolist() == [pick for pick, _ in expected]
        assert lowered.tolist() == pytest.approx([score for _, score in expected], rel=1e-12)


@given(seeds)
def test_scores_never_increase(seed: int):
    bounds, confidence, _ = random_candidates(seed, count=40)
    _, lowered = soft_nms(bounds.float(), confidence.float())
    assert lowered.dtype == torch.float32
    assert bool((lowered.diff() <= 0).all())


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.inf, math.nan])
def test_sigma_out_of_range_is_rejected(sigma: float):
    with pytest.raises(ValueError, match=r"soft_nms\(sigma=.*expected a positive number"):
        soft_nms(segments((0, 1)), scores(1), sigma=sigma)


def test_max_detections_below_one_is_rejected():
    with pytest.raises(ValueError, match=r"soft_nms\(max_detections=0\): expected at least 1"):
        soft_nms(segments((0, 1)), scores(1), max_detections=0)


def test_shapes_that_disagree_are_rejected():
    with pytest.raises(ValueError, match=r"segments=.*expected shape \[segments, 2\].*\[2, 3\]"):
        soft_nms(torch.zeros(2, 3), scores(1, 1))
    with pytest.raises(ValueError, match=r"scores=.*expected shape \[1\].*got \[2\]"):
        soft_nms(segments((0, 1)), scores(1, 1))
    with pytest.raises(ValueError, match=r"labels=.*expected shape \[1\].*got \[2\]"):
        soft_nms(segments((0, 1)), scores(1), labels=torch.tensor([0, 1]))


@pytest.mark.parametrize("score", [-0.1, math.nan, math.inf])
def test_scores_that_cannot_decay_are_rejected(score: float):
    with pytest.raises(ValueError, match=rf"scores=.*at least 0, got {score}.*not logits"):
        soft_nms(segments((0, 1), (0, 1)), scores(0.5, score))


@pytest.mark.parametrize("bounds", [(3, 2), (math.nan, 1), (0, math.inf)])
def test_reversed_or_infinite_segments_are_rejected(bounds: tuple[float, float]):
    with pytest.raises(ValueError, match=r"segments=.*expected finite start <= end, got \["):
        soft_nms(segments((0, 1), bounds), scores(0.5, 0.5))
