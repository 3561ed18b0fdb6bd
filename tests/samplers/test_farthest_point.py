"""`FarthestPoint` is greedy maximin, also for coinciding points and large norms."""

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from samplers import Candidates, FarthestPoint, Random, _maximin
from tests.samplers import laws


def farthest_points(features: Tensor, start: int, count: int) -> list[int]:
    """Choose by the definition: all distances to all chosen, first of the maxima, in Python."""
    points = features.double()
    chosen = [start]
    while len(chosen) < count:
        left = [item for item in range(len(points)) if item not in chosen]
        nearest = [
            min((points[item] - points[other]).square().sum().item() for other in chosen)
            for item in left
        ]
        chosen.append(left[nearest.index(max(nearest))])
    return sorted(chosen)


def choose(features: Tensor, start: int, count: int) -> list[int]:
    candidates = Candidates(num_items=len(features), features=features)
    return FarthestPoint(start=start).sample(candidates, count).tolist()


shapes = st.tuples(st.integers(1, 12), st.integers(1, 4))
seeds = st.integers(0, 2**31)


@given(shape=shapes, seed=seeds, data=st.data())
def test_index_against_brute_force(shape: tuple[int, int], seed: int, data: st.DataObject) -> None:
    features = torch.randn(shape, generator=laws.seeded(seed))
    count = data.draw(st.integers(1, shape[0]))
    start = data.draw(st.integers(0, shape[0] - 1))
    assert choose(features, start, count) == farthest_points(features, start, count)


@given(shape=shapes, seed=seeds, data=st.data())
def test_ties_and_coinciding_points_against_brute_force(
    shape: tuple[int, int], seed: int, data: st.DataObject
) -> None:
    features = torch.randint(3, shape, generator=laws.seeded(seed)).float()
    count = data.draw(st.integers(1, shape[0]))
    assert choose(features, 0, count) == farthest_points(features, 0, count)


@given(num_items=st.integers(1, 12), seed=seeds, data=st.data())
def test_repeated_points_against_brute_force(
    num_items: int, seed: int, data: st.DataObject
) -> None:
    generator = laws.seeded(seed)
    points = torch.randn(4, 5, generator=generator)
    features = points[torch.randint(4, (num_items,), generator=generator)]
    count = data.draw(st.integers(1, num_items))
    assert choose(features, 0, count) == farthest_points(features, 0, count)


def test_brute_force_tells_other_choices_apart() -> None:
    features = torch.randn(12, 3, generator=laws.seeded(0))
    candidates = Candidates(num_items=12, features=features)
    random = Random().sample(candidates, 5, generator=laws.seeded(0)).tolist()
    assert random != farthest_points(features, random[0], 5)
    assert choose(features, 0, 5) != choose(features, 1, 5)


def test_corners_of_a_square_come_before_its_middle() -> None:
    square = torch.tensor([[0.5, 0.5], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert choose(square, 1, 4) == [1, 2, 3, 4]
    assert choose(square, 1, 2) == [1, 4]


def test_equal_points_are_chosen_in_order_of_position() -> None:
    assert choose(torch.full((6, 2), 0.1), 3, 4) == [0, 1, 2, 3]


@pytest.mark.parametrize("offset", [1e4, -1e8])
def test_common_offset_changes_nothing(offset: float) -> None:
    features = torch.randn(40, 3, generator=laws.seeded(0), dtype=torch.float64)
    assert choose(features + offset, 0, 15) == choose(features, 0, 15)


@pytest.mark.parametrize("factor", [2.0**100, 2.0**-100])
def test_norms_whose_squares_leave_float32_are_safe(factor: float) -> None:
    features = torch.randn(40, 3, generator=laws.seeded(0))
    assert (features * factor).square().sum().item() in (0.0, torch.inf)
    assert choose(features * factor, 0, 15) == choose(features, 0, 15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_point_type_is_accepted(dtype: torch.dtype) -> None:
    features = torch.randn(20, 3, generator=laws.seeded(0)).to(dtype)
    assert choose(features, 0, 8) == farthest_points(features, 0, 8)


def test_start_is_chosen_and_random_start_is_uniform() -> None:
    candidates = Candidates(num_items=5, features=torch.eye(5))
    assert FarthestPoint(start=3).sample(candidates, 1).tolist() == [3]
    generator = laws.seeded(0)
    starts = [int(FarthestPoint().sample(candidates, 1, generator=generator)) for _ in range(2000)]
    laws.check_frequencies([starts.count(item) for item in range(5)], [1.0] * 5)


def clusters(num_items: int) -> Tensor:
    """Points around a few centres, whose distances lie within a factor of a hundred."""
    generator = laws.seeded(0)
    centres = torch.randn(5, 8, generator=generator)
    nearby = torch.randn(num_items, 8, generator=generator) / 10
    return centres[torch.randint(5, (num_items,), generator=generator)] + nearby


def tied(num_items: int) -> Tensor:
    """Points of a lattice, with many equal distances."""
    return torch.randint(4, (num_items, 3), generator=laws.seeded(0)).float()


@pytest.mark.parametrize("count", [20, 49, 50])
@pytest.mark.parametrize("window", [1, 2, 16, 49, 50, 1000])
@pytest.mark.parametrize("points", [clusters, tied])
def test_window_changes_nothing(
    points: Callable[[int], Tensor], window: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_maximin, "_WINDOW", window)
    assert choose(points(50), 7, count) == farthest_points(points(50), 7, count)


@pytest.mark.parametrize("window", [1, 8, 1000])
def test_distances_that_are_equal_but_for_rounding_are_tied(
    window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_maximin, "_WINDOW", window)
    turned, _ = torch.linalg.qr(torch.randn(40, 40, generator=laws.seeded(0), dtype=torch.float64))
    distance = torch.cdist(turned, turned)[0, 1:]
    assert 0 < distance.max() - distance.min() < 1e-14
    beside_the_start = turned[7] * torch.tensor([[1.1], [1.2], [1.3]])
    features = torch.cat([beside_the_start, turned])
    assert choose(features, 10, 12) == list(range(3, 15))


@pytest.mark.parametrize("window", [1, 8, 1000])
@pytest.mark.parametrize("size", [1e-4, 1e-9])
def test_clusters_far_smaller_than_the_distances_between_them(
    size: float, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What products cannot tell apart, with and without ties."""
    monkeypatch.setattr(_maximin, "_WINDOW", window)
    generator = laws.seeded(0)
    centres = torch.randint(-8, 9, (5, 8), generator=generator, dtype=torch.float64)
    offsets = 2.0 ** math.floor(math.log2(size)) * torch.randint(4, (60, 8), generator=generator)
    features = centres[torch.randint(5, (60,), generator=generator)] + offsets
    assert choose(features, 0, 50) == farthest_points(features, 0, 50)


def test_few_passes_serve_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = 0

    def counted(*args: Any, **options: Any) -> Tensor:
        nonlocal passes
        product = addmm(*args, **options)
        passes += product.shape[1] == 500
        return product

    addmm = torch.addmm
    monkeypatch.setattr(torch, "addmm", counted)
    choose(torch.randn(500, 32, generator=laws.seeded(0)), 0, 101)
    assert 2 <= passes <= 20


@pytest.mark.parametrize("exponent", [3, 8, 20, 60])
def test_norms_of_all_sizes_in_one_set(exponent: int) -> None:
    """What is far too small beside the largest norms is told apart once those are chosen."""
    generator = laws.seeded(0)
    size = 10 ** (exponent * (2 * torch.rand(60, 1, generator=generator, dtype=torch.float64) - 1))
    features = size * torch.randn(60, 3, generator=generator)
    assert choose(features, 0, 50) == farthest_points(features, 0, 50)


@pytest.mark.parametrize("factor", [2.0**1000, 2.0**-1000])
def test_norms_whose_squares_leave_float64_are_safe(factor: float) -> None:
    features = torch.randn(40, 3, generator=laws.seeded(0), dtype=torch.float64)
    assert choose(features * factor, 0, 15) == choose(features, 0, 15)


def with_torch_cluster(features: Tensor, start: int, count: int) -> list[int]:
    pytest.importorskip("torch_cluster", reason="the extra [fps] is not installed")
    candidates = Candidates(num_items=len(features), features=features)
    return FarthestPoint(start=start, backend="torch_cluster").sample(candidates, count).tolist()


def test_index_against_torch_cluster_itself() -> None:
    torch_cluster = pytest.importorskip("torch_cluster", reason="the extra [fps] is not installed")
    features = torch.randn(600, 16, generator=laws.seeded(0))
    expected = torch_cluster.fps(features, ratio=60 / 600, random_start=False)
    assert choose(features, 0, 60) == expected.sort().values.tolist()


@pytest.mark.parametrize("count", [1, 2, 77, 299, 300])
@pytest.mark.parametrize("start", [0, 123, 299])
def test_backends_choose_the_same(count: int, start: int) -> None:
    features = 1e3 * torch.randn(300, 16, generator=laws.seeded(0))
    assert with_torch_cluster(features, start, count) == choose(features, start, count)


def test_backends_choose_the_same_number_where_a_ratio_is_rounded_up() -> None:
    # 7 / 13 of 13 is 7.000000000000001 to torch_cluster.
    features = torch.randn(13, 2, generator=laws.seeded(0))
    assert with_torch_cluster(features, 0, 7) == choose(features, 0, 7)


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_backends_choose_the_same_of_features_whose_squares_leave_float64(factor: float) -> None:
    features = factor * torch.randn(40, 3, generator=laws.seeded(0), dtype=torch.float64)
    assert with_torch_cluster(features, 5, 12) == choose(features, 5, 12)


def test_backends_choose_the_same_of_coinciding_points() -> None:
    features = torch.randn(20, 4, generator=laws.seeded(0)).repeat(5, 1)
    assert with_torch_cluster(features, 3, 60) == choose(features, 3, 60)


def test_backend_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_cluster", None)
    with pytest.raises(ImportError, match=r"expected the package torch-cluster, .* not installed"):
        FarthestPoint(backend="torch_cluster")
    assert choose(torch.eye(3), 0, 2) == [0, 1]


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one of .*, got .cuda.\. Use the default"):
        FarthestPoint(backend="cuda")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    features = torch.zeros(4, 2)
    features[2, 1] = value
    with pytest.raises(ValueError, match=r"expected finite features.* 1 of 4 rows: 2\."):
        choose(features, 0, 2)


def test_start_that_is_no_position_is_refused(raw_errors: None) -> None:
    with pytest.raises(ValueError, match=r"start=1.5\): expected an integer >= 0, got 1.5"):
        FarthestPoint(start=1.5)
    with pytest.raises(ValueError, match=r"start=-1\): expected an integer >= 0, got -1"):
        FarthestPoint(start=-1)


def test_start_beyond_the_candidates_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a start in \[0, 3\].*got 4"):
        choose(torch.zeros(4, 2), 4, 2)


@pytest.mark.parametrize("factor", [1e300, -1e300, 1e-300, -1e-300])
def test_features_of_one_sign_and_any_size_give_the_same_index(factor: float) -> None:
    features = torch.rand(30, 4, generator=laws.seeded(0), dtype=torch.float64)
    features[0] = 0
    expected = FarthestPoint(start=3).sample(Candidates(num_items=30, features=features), 9)
    scaled = Candidates(num_items=30, features=factor * features)
    assert torch.equal(FarthestPoint(start=3).sample(scaled, 9), expected)
