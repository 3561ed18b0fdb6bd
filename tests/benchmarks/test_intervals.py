"""Intervals agree with the normal ones where those hold, and are paired."""

import math

import pytest
import torch

from benchmarks.measuring.intervals import mean, ratio_of_means, with_interval


def test_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, value, high = with_interval(values.tolist(), mean)
    half = 1.96 * float(values.std()) / math.sqrt(1000)
    assert value == pytest.approx(float(values.mean()))
    assert (value - low, high - value) == pytest.approx((half, half), rel=0.1)


def test_ratio_of_means_pairs_what_belongs_to_one_video() -> None:
    """Videos differ by a factor of nine; the ratio inside each does not."""
    pairs = [(2.0 * size, 1.0 * size) for size in range(1, 10)]
    assert with_interval(pairs, ratio_of_means) == pytest.approx([2, 2, 2])
    unpaired = [(2.0 * size, 10.0 - size) for size in range(1, 10)]
    low, value, high = with_interval(unpaired, ratio_of_means)
    assert value == pytest.approx(2)
    assert low < 1.9 < 2.1 < high
