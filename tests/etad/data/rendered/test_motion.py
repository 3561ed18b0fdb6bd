"""The laws of motion, and that they do not show in a single frame."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

from examples.etad.data.rendered.motion import ACTIONS, drift, follow
from examples.etad.data.rendered.random_numbers import derived_generator

SIZE, SPEED = 48, torch.tensor([2.0], dtype=torch.float64)
LAWS = {"drift": drift, **ACTIONS}
ALPHA = 1e-6


def path_of(law: Callable, seed: int, num_frames: int = 40) -> Tensor:
    generator = derived_generator((seed,))
    heading = law(num_frames, generator)
    return follow(heading, speed=SPEED, size=SIZE, generator=generator)


def steps_of(path: Tensor) -> Tensor:
    """Return the steps, unwrapped from the torus."""
    return (path.diff(dim=0) + SIZE / 2) % SIZE - SIZE / 2


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_every_law_keeps_the_speed_and_stays_on_the_torus(law: Callable) -> None:
    for seed in range(5):
        path = path_of(law, seed)
        assert torch.allclose(steps_of(path).norm(dim=1), SPEED.expand(39))
        assert 0 <= float(path.min()) <= float(path.max()) < SIZE


def test_speed_is_kept_where_one_law_follows_another() -> None:
    generator = derived_generator((0,))
    heading = torch.cat([law(20, generator) for law in LAWS.values()])
    path = follow(heading, speed=SPEED, size=SIZE, generator=generator)
    assert torch.allclose(steps_of(path).norm(dim=1), SPEED.expand(len(path) - 1))


def test_drift_is_vertical_and_turns_back() -> None:
    steps = torch.cat([steps_of(path_of(drift, seed, 200)) for seed in range(5)])
    assert float(steps[:, 1].abs().max()) < 1e-9
    turns = int((steps[1:, 0].sign() != steps[:-1, 0].sign()).sum())
    assert 5 < turns < 40  # 200 * 5 / 60 expected, and four between videos


def test_sweep_is_horizontal_and_goes_either_way() -> None:
    steps = torch.stack([steps_of(path_of(ACTIONS["sweep"], seed)) for seed in range(20)])
    assert float(steps[..., 0].abs().max()) < 1e-9
    assert set(steps[..., 1].mean(dim=1).round().tolist()) == {-2.0, 2.0}


def test_slant_takes_each_diagonal_direction() -> None:
    steps = torch.stack([steps_of(path_of(ACTIONS["slant"], seed)) for seed in range(60)])
    assert torch.allclose(steps.abs(), SPEED / math.sqrt(2))
    assert len({tuple(step) for step in steps[:, 0].sign().tolist()}) == 4


def test_orbit_returns_after_a_turn_and_goes_round_either_way() -> None:
    turns = set()
    for seed in range(20):
        steps = steps_of(path_of(ACTIONS["orbit"], seed))
        assert float(steps[:16].sum(dim=0).norm()) < 1e-9
        y, x = steps.unbind(1)
        turns.add(float((x[:-1] * y[1:] - y[:-1] * x[1:]).sign().mean()))
    assert turns == {-1.0, 1.0}


def test_shake_is_horizontal_and_returns_after_a_period() -> None:
    steps = steps_of(path_of(ACTIONS["shake"], 0))
    assert float(steps[:, 0].abs().max()) < 1e-9
    assert float(steps[:8].sum(dim=0).norm()) < 1e-9


def p_value_of_uniform_places(places: Tensor) -> float:
    """Test counts over a 6 × 6 grid of the frame."""
    cells = (places / SIZE * 6).long()
    counts = torch.bincount(cells[:, 0] * 6 + cells[:, 1], minlength=36)
    return float(stats.chisquare(counts.numpy()).pvalue)


@pytest.mark.parametrize("frame", [0, 17])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_place_in_one_frame_is_uniform_whatever_the_law(law: Callable, frame: int) -> None:
    places = torch.stack([path_of(law, seed, frame + 1)[frame] for seed in range(1500)])
    assert p_value_of_uniform_places(places) > ALPHA


def test_places_without_a_random_start_are_not_uniform() -> None:
    generator = derived_generator((0,))
    steps = torch.stack(
        [
            SPEED * torch.stack([h.sin(), h.cos()], dim=-1).sum(dim=0)
            for h in (ACTIONS["orbit"](17, generator) for _ in range(1500))
        ]
    )
    assert p_value_of_uniform_places((steps + SIZE / 2) % SIZE) < ALPHA
