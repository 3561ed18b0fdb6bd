"""Sizes that are chosen from step to step keep the gradients, and stay within the budget."""

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from samplers import GradientNorm, Random
from sgs import ArraySource, MemoryBudget, SequentialGradientSampler, estimate
from sgs.planning.estimate.live_bytes import LiveBytes
from sgs.planning.settings import memory_budget as budget_module, search
from tests.reference import assert_same, run
from tests.sgs.planning.steps import convolutions, images, wide

NUM_ITEMS = 8
MIB = 2**20


def settings_of(sampler: SequentialGradientSampler) -> tuple[int, int, int]:
    sizes = sampler.sizes
    return sizes.micro_batch_size, sizes.forward_micro_batch_size, sizes.kept_graphs


def within(budget: int | str, encoder: nn.Module) -> SequentialGradientSampler:
    return SequentialGradientSampler(encoder, micro_batch_size=MemoryBudget(budget))


def train(sampler: nn.Module, items: Tensor) -> None:
    sampler(items).square().mean().backward()


def test_gradients_stay_the_same_while_sizes_change() -> None:
    encoder, items = convolutions().double(), images(NUM_ITEMS).double()
    sampler, seen = within("64MiB", encoder), set()
    expected = run(encoder, lambda: encoder(items))[1]
    for _ in range(3):
        assert_same(run(encoder, lambda: sampler(items))[1], expected)
        seen.add(settings_of(sampler))
    assert len(seen) == 2
    assert settings_of(sampler)[2] > 0
    assert "micro_batch_size=MemoryBudget(memory='64MiB')" in repr(sampler)


def test_every_step_stays_within_the_budget() -> None:
    encoder, items, budget = wide(), images(NUM_ITEMS), 2 * MIB
    sampler, seen = within(budget, encoder), set()
    for _ in range(3):
        train(sampler, items)
        seen.add(settings_of(sampler))
    for size, forward_size, kept in seen:
        fixed = SequentialGradientSampler(
            encoder,
            micro_batch_size=size,
            forward_micro_batch_size=forward_size,
            kept_graphs=kept,
        )
        counter = LiveBytes()
        counter.assign(encoder.parameters(), "parameters")
        counter.assign([items], "items")
        with counter:
            train(fixed, items)
        assert counter.peak.total() <= budget
        encoder.zero_grad()


def test_observed_peak_replaces_the_estimate_in_this_plan_and_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    observed = [0]
    monkeypatch.setattr(budget_module, "_peak_bytes", lambda _: observed[0])
    sampler, items = within("8MiB", nn.Linear(30, 20)), torch.rand(6, 30)
    for _ in range(2):
        train(sampler, items[:3])
    assert sampler.sizes.micro_batch_size > 1
    assert sampler.sizes.kept_graphs > 0
    # The head and the optimizer took what was left, and more.
    observed[0] = 20 * MIB
    train(sampler, items[:3])
    assert settings_of(sampler)[::2] == (1, 0)
    # More items need another plan.
    train(sampler, items)
    assert sampler.sizes.search.smallest.num_items == 6
    assert settings_of(sampler)[::2] == (1, 0)


def test_observed_peak_gives_room_back(monkeypatch: pytest.MonkeyPatch) -> None:
    observed = [0]
    monkeypatch.setattr(budget_module, "_peak_bytes", lambda _: observed[0])
    monkeypatch.setattr(search, "LARGEST", 2)
    # Each kept graph holds the copies of two items of 3 KiB.
    sampler, items = within("110KiB", nn.Sequential(nn.Flatten(), nn.Linear(768, 1))), images(16)
    for _ in range(2):
        train(sampler, items)
    before = sampler.sizes
    observed[0] = before.estimate.peak_bytes - 10 * 1024
    train(sampler, items)
    assert sampler.sizes.kept_graphs > before.kept_graphs > 0
    # What the estimate counts too much is free, too.
    assert sampler.sizes.estimate.peak_bytes > 110 * 1024


def test_weights_that_train_later_are_planned_for() -> None:
    encoder, items = nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 10)), torch.rand(NUM_ITEMS, 30)
    sampler = within("8MiB", encoder)
    encoder[0].requires_grad_(False)
    train(sampler, items)
    before = sampler.sizes.search
    encoder[0].requires_grad_(True)
    train(sampler, items)
    assert sampler.sizes.search is not before
    after = sampler.sizes.search
    train(sampler, items)
    assert sampler.sizes.search is after


def test_more_items_than_planned_are_planned_anew() -> None:
    sampler = within("4MiB", wide())
    for items in (images(4), images(4), images(4), images(12)):
        train(sampler, items)
        assert sampler.sizes.search.smallest.num_items == len(items)
    train(sampler, images(8))
    assert sampler.sizes.search.smallest.num_items == 12


def test_items_of_another_shape_are_planned_anew() -> None:
    sampler = within("4MiB", nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1)))
    peaks = []
    for side in (16, 24):
        train(sampler, torch.rand(8, 3, side, side))
        peaks.append(sampler.sizes.estimate.peak_bytes)
    assert peaks[1] > peaks[0]


def test_first_step_is_planned_in_its_precision() -> None:
    encoder, items = nn.Sequential(nn.Linear(100, 50), nn.Linear(50, 20)), torch.rand(8, 100)
    sampler = within("4MiB", encoder)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        train(sampler, items)
    found = sampler.sizes.estimate
    assert found == estimate(sampler, items, autocast=torch.bfloat16)
    assert found != estimate(sampler, items)


def test_items_that_need_a_gradient_are_planned_with_it() -> None:
    items = torch.rand(8, 100, requires_grad=True)
    sampler = within("4MiB", nn.Linear(100, 20))
    train(sampler, items)
    found = sampler.sizes.estimate
    assert found == estimate(sampler, items)
    assert found != estimate(sampler, items.detach())


@pytest.mark.parametrize("wrap", [lambda items: items, ArraySource])
def test_items_of_a_call_are_not_held(wrap: Callable[[Tensor], Any]) -> None:
    sampler, items = within("4MiB", wide()), images(8)
    alive = weakref.ref(items)
    sampler(wrap(items)).square().mean().backward()
    del items
    assert alive() is None


def test_evaluation_and_sources_work_before_the_first_step() -> None:
    encoder, items = wide(), images(NUM_ITEMS)
    sampler = within("64MiB", encoder)
    with torch.no_grad():
        assert torch.allclose(sampler(ArraySource(items)), encoder(items), atol=1e-6)
    assert sampler.sizes.micro_batch_size > 1
    train(sampler, ArraySource(items))


def test_evaluation_keeps_the_sizes() -> None:
    encoder, items = nn.Linear(3, 2), torch.rand(NUM_ITEMS, 3)
    sampler = within("1MiB", encoder)
    train(sampler, items)
    before = settings_of(sampler)
    with torch.no_grad():
        sampler(items)
    assert settings_of(sampler) == before
    # The negative control.
    train(sampler, items)
    assert settings_of(sampler) != before


def test_evaluation_before_the_first_step_teaches_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lightning evaluates first; the peak of that is not the peak of a step."""
    monkeypatch.setattr(budget_module, "_peak_bytes", lambda _: MIB // 8)
    sampler, fresh = within("8MiB", convolutions()), within("8MiB", convolutions())
    items = images(NUM_ITEMS)
    with torch.no_grad():
        sampler(items)
    train(sampler, items)
    train(fresh, items)
    assert settings_of(sampler) == settings_of(fresh)
    assert sampler.sizes.search.limit == fresh.sizes.search.limit <= 0.9 * 8 * MIB


def test_calls_of_one_step_have_the_same_sizes() -> None:
    sampler, items, seen = within("8MiB", convolutions()), images(NUM_ITEMS), []
    for _ in range(2):
        first = sampler(items)
        seen.append(settings_of(sampler))
        second = sampler(items)
        seen.append(settings_of(sampler))
        (first * second).mean().backward()
    assert seen[0] == seen[1] != seen[2] == seen[3]
    assert seen[0][2] == 0


def test_another_ratio_or_strategy_is_planned_anew() -> None:
    encoder = nn.Sequential(nn.Linear(100, 100), nn.Dropout())
    sampler, items = within("1MiB", encoder), torch.randn(60, 100)
    for options in ({}, {"ratio": 0.5}, {"sampler": GradientNorm()}, {"sampler": Random()}):
        for name, value in options.items():
            setattr(sampler, name, value)
        for _ in range(2):
            train(sampler, items)
        fresh = within("1MiB", encoder)
        fresh.ratio, fresh.sampler = sampler.ratio, sampler.sampler
        for _ in range(2):
            train(fresh, items)
        assert settings_of(sampler) == settings_of(fresh)


def test_a_sampler_inside_of_another_plans_once(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = []
    search_within = search.Search.within.__func__
    counted = lambda *args, **kwargs: planned.append(1) or search_within(*args, **kwargs)  # noqa: E731
    monkeypatch.setattr(search.Search, "within", classmethod(counted))
    inner = within("64MiB", nn.Linear(3, 2))
    outer = SequentialGradientSampler(nn.Sequential(inner, nn.Tanh()), micro_batch_size=4)
    for _ in range(3):
        train(outer, torch.rand(NUM_ITEMS, 3))
    assert len(planned) == 1


def test_a_kept_graph_beside_a_budget_is_refused_later_too() -> None:
    sampler, items = within("1MiB", nn.Linear(3, 2)), torch.rand(NUM_ITEMS, 3)
    train(sampler, items)
    sampler.kept_graphs = 7
    with pytest.raises(ValueError, match="expected neither forward_micro_batch_size nor kept_"):
        train(sampler, items)


def test_peak_is_taken_into_account_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The allocator says the same after each step, until one takes more."""
    monkeypatch.setattr(budget_module, "_peak_bytes", lambda _: MIB // 2)
    sampler = within("1MiB", nn.Linear(100, 100))
    limits = []
    for _ in range(4):
        train(sampler, torch.rand(NUM_ITEMS, 100))
        limits.append(sampler.sizes.search.limit)
    assert limits[0] != limits[1]
    assert set(limits[1:]) == {limits[1]}


def test_frozen_encoder_needs_no_plan() -> None:
    sampler = SequentialGradientSampler(
        wide().requires_grad_(False), micro_batch_size=MemoryBudget("1B")
    )
    assert sampler(images(3)).shape == (3, 100)


def test_too_small_a_budget_is_refused_at_the_first_call() -> None:
    sampler = within("1kB", wide())
    with pytest.raises(ValueError, match=r"budget='1kB'\): a step takes"):
        train(sampler, images(3))


def test_budget_without_room_for_its_margin_is_refused() -> None:
    least = estimate(SequentialGradientSampler(wide(), micro_batch_size=1), images(3)).peak_bytes
    enough = SequentialGradientSampler(
        wide(), micro_batch_size=MemoryBudget(math.ceil(least / 0.9))
    )
    train(enough, images(3))
    sampler = SequentialGradientSampler(
        wide(), micro_batch_size=MemoryBudget(math.ceil(1.05 * least))
    )
    with pytest.raises(ValueError, match="that the budget leaves after its margin"):
        train(sampler, images(3))


@pytest.mark.parametrize("part", ["encoder", "sampler"])
def test_sharded_parameters_are_refused(part: str, process_group: None) -> None:
    from torch.distributed.fsdp import fully_shard

    sampler = within("1GiB", nn.Linear(3, 3))
    module = sampler if part == "sampler" else sampler.encoder
    fully_shard(module, mesh=torch.distributed.init_device_mesh("cpu", (1,)))
    with pytest.raises(TypeError, match=r"are sharded, .* Estimate or plan before fully_shard"):
        train(sampler, torch.rand(3, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"forward_micro_batch_size": 2}, "expected neither forward_micro_batch_size nor kept"),
        ({"kept_graphs": 1}, "expected neither forward_micro_batch_size nor kept_graphs"),
    ],
)
def test_sizes_are_given_or_chosen(options: dict[str, object], message: str) -> None:
    given = {"micro_batch_size": MemoryBudget("1GiB")} | options
    with pytest.raises(ValueError, match=message):
        SequentialGradientSampler(wide(), **given)


def test_a_budget_is_an_amount_of_memory() -> None:
    with pytest.raises(ValueError, match="'much' is no amount of memory"):
        MemoryBudget("much")


def test_two_samplers_may_have_the_same_budget() -> None:
    budget, items = MemoryBudget("2MiB"), torch.rand(16, 10)
    # Of 40 kB per item, 16 do not fit beside the parameters and their gradients.
    heavy = nn.Sequential(nn.Linear(10, 10**4), nn.Tanh(), nn.Linear(10**4, 1))
    first, second, alone = (
        SequentialGradientSampler(encoder, micro_batch_size=budget)
        for encoder in (nn.Linear(10, 1), heavy, heavy)
    )
    for sampler in (first, second, alone):
        train(sampler, items)
    assert settings_of(second) == settings_of(alone) != settings_of(first)


def test_a_sampler_may_be_given_another_budget() -> None:
    sampler, items = SequentialGradientSampler(wide(), micro_batch_size=2), images(NUM_ITEMS)
    for budget in ("2MiB", "64MiB"):
        sampler.micro_batch_size = MemoryBudget(budget)
        train(sampler, items)
        fresh = within(budget, wide())
        train(fresh, items)
        assert settings_of(sampler) == settings_of(fresh)
    sampler.micro_batch_size = 2
    assert settings_of(sampler) == (2, 2, 0)
