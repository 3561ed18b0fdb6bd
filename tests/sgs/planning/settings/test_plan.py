"""A plan stays within its budget, and makes the most of it."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from samplers import DPP
from sgs import Estimate, SequentialGradientSampler, estimate, plan
from sgs.planning.estimate import estimate as estimate_module
from sgs.planning.settings import search
from sgs.planning.settings.result import Plan
from sgs.sizes import Sizes
from tests.sgs.planning.steps import (
    Attention,
    adamw,
    convolutions,
    images,
    measured,
    one_convolution,
    wide,
)

NUM_ITEMS = 8


def sampler_of(encoder: nn.Module, **options: object) -> SequentialGradientSampler:
    return SequentialGradientSampler(encoder, micro_batch_size=1, **{"ratio": 0.5, **options})


@pytest.fixture
def exact_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "CUDA_BLOCK", 1)


@pytest.mark.parametrize(
    "make",
    [
        one_convolution,
        wide,
        pytest.param(convolutions, marks=pytest.mark.exhaustive),
        pytest.param(Attention, marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.usefixtures("exact_bytes")
def test_planned_step_stays_within_the_budget(make: Callable[[], nn.Module]) -> None:
    sampler, items = sampler_of(make()), images(NUM_ITEMS)
    least = estimate(sampler, items, optimizer=adamw).peak_bytes
    for factor in (1.0, 1.5, 20.0):
        budget = math.ceil(factor * least)
        found = plan(sampler, items, budget, margin=0.0, optimizer=adamw)
        assert found.estimate.peak_bytes <= budget
        found.apply(sampler)
        # Positions of items are in host memory.
        assert measured("sgs", sampler, items) <= budget + 24 * NUM_ITEMS
    # All sampled items in the end: nothing is encoded twice.
    assert found.kept_graphs * found.micro_batch_size >= NUM_ITEMS / 2


@pytest.mark.usefixtures("exact_bytes")
def test_estimate_of_a_plan_is_that_of_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LARGEST", 4)
    sampler, items = sampler_of(convolutions()), images(24)
    four = sampler_of(convolutions(), kept_graphs=2)
    four.micro_batch_size = four.forward_micro_batch_size = 4
    budget = estimate(four, items).peak_bytes
    found = plan(sampler, items, budget, margin=0.0)
    assert (found.micro_batch_size, found.kept_graphs) == (4, 2)
    found.apply(sampler)
    again = estimate(sampler, items)
    assert again.bytes_by_category == found.estimate.bytes_by_category
    assert again.flops == found.estimate.flops
    assert "micro_batch_size=4, forward_micro_batch_size=" in str(found)
    assert "kept_graphs=2\nsgs, 24 items" in str(found)


def test_options_of_a_plan_are_those_of_its_estimate() -> None:
    encoder = nn.Sequential(nn.Linear(100, 50), nn.Linear(50, 20))
    sampler, items = sampler_of(encoder), torch.empty(NUM_ITEMS, 100, device="meta")
    options = {
        "head": nn.Sequential(nn.Flatten(0), nn.Linear(NUM_ITEMS * 20, 1)),
        "optimizer": adamw,
        "items_on_device": False,
        "autocast": torch.bfloat16,
    }
    found = plan(sampler, items, "1GiB", **options)
    found.apply(sampler)
    expected = estimate(sampler, items, **options)
    assert found.estimate == expected
    # The negative control: each of them matters.
    for left_out in options:
        others = {name: value for name, value in options.items() if name != left_out}
        assert estimate(sampler, items, **others) != expected


def test_nothing_changes_before_the_plan_is_applied() -> None:
    sampler = sampler_of(wide())
    plan(sampler, images(), "1GiB")
    assert sampler.sizes == Sizes(1, 1, 0)


def test_applied_plan_sets_each_size() -> None:
    sampler = sampler_of(wide())
    Plan(3, 5, 2, Estimate("sgs", NUM_ITEMS, {}, {})).apply(sampler)
    settings = sampler.micro_batch_size, sampler.forward_micro_batch_size, sampler.kept_graphs
    assert settings == (3, 5, 2)


def test_more_memory_is_never_used_worse() -> None:
    sampler, items = sampler_of(one_convolution()), images(NUM_ITEMS)
    least = estimate(sampler, items).peak_bytes
    plans = [plan(sampler, items, int(least * factor)) for factor in (1.2, 2, 5)]
    flops = [found.estimate.total_flops for found in plans]
    sizes = [found.micro_batch_size for found in plans]
    assert sizes == sorted(sizes)
    for before, after in itertools.pairwise(range(len(plans))):
        assert sizes[before] < sizes[after] or flops[before] >= flops[after]


def test_heavy_items_do_not_share_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, items = sampler_of(wide()), images(4)
    assert plan(sampler, items, "1GiB").micro_batch_size > 1
    monkeypatch.setattr(search, "BUSY_FLOPS", 1)
    assert plan(sampler, items, "1GiB").micro_batch_size == 1


def test_strategies_that_look_at_features_keep_no_graphs() -> None:
    found = plan(sampler_of(wide(), sampler=DPP()), images(NUM_ITEMS), "1GiB")
    assert found.kept_graphs == 0
    assert found.forward_micro_batch_size == found.micro_batch_size


def test_budget_that_is_too_small_is_refused() -> None:
    message = (
        r"plan\(budget='1MiB'\): a step takes .* with micro-batches of one item, more than the 921"
    )
    with pytest.raises(ValueError, match=message):
        plan(sampler_of(wide()), images(), "1MiB", optimizer=torch.optim.AdamW)
