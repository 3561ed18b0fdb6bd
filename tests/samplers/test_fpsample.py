"""`FarthestPoint` against fpsample, which works in float32, in C++, by the definition."""

import pytest
import torch
from torch import Tensor

from samplers import Candidates, FarthestPoint
from tests.samplers import laws

fpsample = pytest.importorskip("fpsample", reason="fpsample of the extra [test] is not installed")


def points(channels: int) -> Tensor:
    """Random points, of which no two are equally far from a third, not even in float32."""
    return torch.randn(300, channels, generator=laws.seeded(channels))


def choose(features: Tensor, start: int, count: int) -> list[int]:
    candidates = Candidates(num_items=len(features), features=features)
    return FarthestPoint(start=start).sample(candidates, count).tolist()


def chosen_by_fpsample(features: Tensor, start: int, count: int) -> list[int]:
    return sorted(map(int, fpsample.fps_sampling(features.numpy(), count, start_idx=start)))


@pytest.mark.parametrize("count", [1, 2, 30, 150, 299, 300])
@pytest.mark.parametrize("start", [0, 150, 299])
@pytest.mark.parametrize("channels", [1, 3, 64])
def test_index_against_fpsample(channels: int, start: int, count: int) -> None:
    features = points(channels)
    assert choose(features, start, count) == chosen_by_fpsample(features, start, count)


def test_every_step_against_fpsample() -> None:
    """The order of choice, not only the set: each item is the one by which the sets differ."""
    features = points(8)
    in_order = fpsample.fps_sampling(features.numpy(), 40, start_idx=7).tolist()
    for count in range(1, 41):
        assert choose(features, 7, count) == sorted(in_order[:count])


def test_another_start_or_order_of_the_points_is_noticed() -> None:
    features = points(3)
    assert choose(features, 0, 30) != chosen_by_fpsample(features, 150, 30)
    assert choose(features, 0, 30) != chosen_by_fpsample(features.flip(0), 0, 30)
