"""The search finds what trying all settings finds, where a formula says what each takes."""

import math

import pytest

from samplers import DPP
from sgs.planning.settings.search import LARGEST, Search
from tests.sgs.planning.formulas import nothing, search_of


def graphs(size: int, forward_size: int, kept: int) -> int:
    return max(1000, 100 + 30 * size * kept)


def test_calls_take_no_more_items_than_keep_a_gpu_busy_or_are_sampled() -> None:
    assert search_of(nothing, limit=0, num_items=10**4).largest_size() == LARGEST
    # The power of two that holds the 20 items that are sampled.
    assert search_of(nothing, limit=0, num_items=40, ratio=0.5).largest_size() == 32
    # 5e10 operations of each item: 4 of them are 2e11.
    busy = search_of(nothing, limit=0, num_items=100, flops=100 * 5 * 10**10)
    assert busy.largest_size() == 4


@pytest.mark.parametrize("limit", [100, 799, 800, 10**6])
def test_largest_call_is_the_largest_that_fits(limit: int) -> None:
    search = search_of(lambda size, *_: 100 * size, limit=limit)
    sizes = [2**power for power in range(7)]
    assert search.largest_size() == max(size for size in sizes if 100 * size <= limit)


def test_first_pass_takes_more_items_only_where_that_is_free() -> None:
    search = search_of(lambda size, forward_size, _: max(10 * size, 4 * forward_size), limit=10**6)
    assert search.largest_forward_size(4) == 8
    assert search_of(nothing, limit=0, num_items=60).largest_forward_size(4) == 32
    assert search_of(nothing, limit=0, num_items=10**4).largest_forward_size(4) == 4 * LARGEST


@pytest.mark.parametrize(("budget", "margin"), [(1000, 0.0), (1250, 0.2), ("1.25kB", 0.2)])
def test_budget_less_its_margin_must_hold_one_item_at_a_time(
    budget: int | str, margin: float
) -> None:
    free = search_of(graphs, limit=0)
    search = Search.within(budget, free.sampler, free.step, margin=margin)
    assert search.limit == search(1, 1, 0).peak_bytes == 1000
    with pytest.raises(
        ValueError, match=r"takes 1000 B with micro-batches of one item, more than the 9"
    ):
        Search.within(budget, free.sampler, free.step, margin=margin + 0.001)


def most_kept_of_all(search: Search, size: int, num_sampled: int) -> int:
    counts = range(math.ceil(num_sampled / size) + 1)
    return max(kept for kept in counts if search.fits(search(size, size, kept)))


@pytest.mark.parametrize("limit", [1000, 1029, 1030, 1200, 2500, 2529, 4000, 10**6])
@pytest.mark.parametrize("size", [1, 3])
def test_as_many_graphs_are_kept_as_fit(size: int, limit: int) -> None:
    search = search_of(graphs, limit=limit, ratio=0.5)
    found = search.most_kept(size, size)
    assert found.kept_graphs == most_kept_of_all(search, size, 128)
    assert found.estimate == search(size, size, found.kept_graphs)


def test_strategies_that_look_at_features_get_one_size_and_no_graphs() -> None:
    search = search_of(nothing, limit=0, ratio=0.5, sampler=DPP())
    assert search.largest_forward_size(4) == 4
    assert search.most_kept(4, 4).kept_graphs == 0
    # All items are sampled: there is nothing to look at.
    whole = search_of(nothing, limit=0, ratio=1.0, sampler=DPP())
    assert whole.largest_forward_size(4) == 256
    assert whole.most_kept(4, 4).kept_graphs == 64


def test_sampler_keeps_its_sizes_while_others_are_looked_at() -> None:
    search = search_of(graphs, limit=4000)
    search.most_kept(2, 4)
    assert (search.sampler.micro_batch_size, search.sampler.kept_graphs) == (1, 0)
