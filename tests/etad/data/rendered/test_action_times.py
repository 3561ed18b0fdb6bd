"""When the actions of rendered videos happen."""

from collections import Counter
from itertools import pairwise

import pytest

from examples.etad.data.rendered.action_times import Instance, draw_schedule
from examples.etad.data.rendered.motion import ACTIONS
from examples.etad.data.rendered.random_numbers import derived_generator

NUM_FRAMES = 512


@pytest.fixture(scope="module")
def schedules() -> list[list[Instance]]:
    return [draw_schedule(NUM_FRAMES, generator=derived_generator((i,))) for i in range(500)]


def test_actions_are_in_order_inside_the_video_and_apart(schedules: list[list[Instance]]) -> None:
    for schedule in schedules:
        assert all(0 <= action.start < action.end <= NUM_FRAMES for action in schedule)
        gaps = [later.start - earlier.end for earlier, later in pairwise(schedule)]
        assert all(gap >= 0.03 * NUM_FRAMES - 1 for gap in gaps)


def test_number_and_lengths_vary_over_their_whole_range(schedules: list[list[Instance]]) -> None:
    counts = Counter(len(schedule) for schedule in schedules)
    assert set(counts) == {0, 1, 2, 3, 4}
    assert 0.04 < counts[0] / len(schedules) < 0.13
    lengths = [(a.end - a.start) / NUM_FRAMES for schedule in schedules for a in schedule]
    assert 0.055 < min(lengths) < 0.07
    assert 0.35 < max(lengths) < 0.405


def test_every_class_is_about_as_frequent(schedules: list[list[Instance]]) -> None:
    counts = Counter(action.label for schedule in schedules for action in schedule)
    assert set(counts) == set(ACTIONS)
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_same_generator_same_schedule(schedules: list[list[Instance]]) -> None:
    assert draw_schedule(NUM_FRAMES, generator=derived_generator((7,))) == schedules[7]
    assert schedules[7] != schedules[8]
