"""Sizes are chosen by the seconds of steps, here of a clock that a formula moves."""

from collections.abc import Callable
from typing import Any

import pytest

from samplers import DPP
from sgs.engine import FIRST_PASS, SECOND_PASS
from sgs.planning.settings import trials as trials_module
from sgs.planning.settings.search import Search
from sgs.planning.settings.trials import Trials
from tests.sgs.planning.formulas import nothing, search_of

# Seconds per item of the first pass, and of the second one, by micro-batch size.
Seconds = Callable[[int], tuple[float, float]]


class Clock:
    """Trains, and moves the time."""

    def __init__(self, seconds: Seconds) -> None:
        self.now_s = 0.0
        self.seconds = seconds

    def step(self, trials: Trials, num_items: int = 256, num_sampled: int = 256) -> None:
        trials.advance()
        size = trials.plan.micro_batch_size
        for stage, count, each_s in zip(
            (FIRST_PASS, SECOND_PASS), (num_items, num_sampled), self.seconds(size), strict=True
        ):
            with trials.timed(stage, size, count):
                self.now_s += each_s * count

    def settled(self, search: Search, **counts: int) -> Trials:
        trials = Trials(search)
        for _ in range(12):
            self.step(trials, **counts)
        return trials


@pytest.fixture
def clock_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Seconds], Clock]:
    def made(seconds: Seconds) -> Clock:
        clock = Clock(seconds)
        monkeypatch.setattr(trials_module, "_now_s", lambda: clock.now_s)
        return clock

    return made


ClockOf = Callable[[Seconds], Clock]


@pytest.mark.parametrize(("faster_by", "chosen"), [(0.02, 32), (0.05, 64)])
def test_larger_size_must_be_faster_by_more_than_noise(
    faster_by: float, chosen: int, clock_of: ClockOf
) -> None:
    clock = clock_of(lambda size: (1.0, 1.0) if size < 64 else (1 - faster_by, 1 - faster_by))
    trials = clock.settled(search_of(nothing, limit=0))
    assert trials.plan.micro_batch_size == chosen


def test_first_step_is_not_timed(clock_of: ClockOf) -> None:
    """It compiles, allocates and chooses kernels."""
    clock = clock_of(lambda size: (1e6, 1e6))
    trials = Trials(search_of(nothing, limit=0))
    clock.step(trials)
    clock.seconds = lambda size: (1 + 8 / size, 1.0)
    for _ in range(3):
        clock.step(trials)
    assert trials.plan.micro_batch_size == 64


def test_calls_of_fewer_items_are_no_faster(clock_of: ClockOf) -> None:
    clock = clock_of(lambda size: (1 + 8 / size, 1 + 8 / size))
    trials = Trials(search_of(nothing, limit=0))
    for num_items in (256, 256, 64, 16, 64, 16):
        clock.step(trials, num_items, num_items)
    assert trials.plan.micro_batch_size == 64


@pytest.mark.parametrize(("ratio", "chosen"), [(0.125, 64), (1.0, 32)])
def test_second_pass_counts_for_the_items_that_are_sampled(
    ratio: float, chosen: int, clock_of: ClockOf
) -> None:
    """With 64 items the first pass is faster by 20 %, the second one slower by as much."""
    clock = clock_of(lambda size: {64: (0.8, 3.6), 32: (1.0, 3.0)}.get(size, (9.0, 9.0)))
    search = search_of(nothing, limit=0, num_items=1024, ratio=ratio)
    trials = clock.settled(search, num_items=1024, num_sampled=int(1024 * ratio))
    assert trials.plan.micro_batch_size == chosen


def test_sizes_that_do_not_fit_are_not_tried(clock_of: ClockOf) -> None:
    seen = set()

    def seconds(size: int) -> tuple[float, float]:
        seen.add(size)
        return 1 / size, 1 / size

    clock_of(seconds).settled(search_of(lambda size, *_: 100 * size, limit=1000))
    assert seen == {8, 4}


@pytest.mark.parametrize(
    ("options", "forward_size"), [({}, 16), ({"ratio": 0.5, "sampler": DPP()}, 8)], ids=str
)
def test_first_pass_takes_the_fastest_size_that_is_free(
    options: dict[str, Any], forward_size: int, clock_of: ClockOf
) -> None:
    """The second pass wants 8 items at once, the first one as many as there can be."""
    clock = clock_of(lambda size: (1 / size, 1 + abs(size - 8)))
    search = search_of(lambda size, forward, _: max(2 * size, forward), limit=10**6, **options)
    plan = clock.settled(search).plan
    assert (plan.micro_batch_size, plan.forward_micro_batch_size) == (8, forward_size)


def test_what_was_not_predicted_is_left_out_of_what_graphs_may_take(clock_of: ClockOf) -> None:
    search = search_of(lambda size, _, kept: 10 + 10 * size * kept, limit=10**3)
    clock = clock_of(lambda size: (1.0, 1.0))
    trials = clock.settled(search)
    assert trials.plan.estimate.peak_bytes + 200 > 10**3
    trials.correct(10**3 - 200)
    trials.advance()
    assert (trials.plan.micro_batch_size, trials.plan.kept_graphs) == (1, 79)
