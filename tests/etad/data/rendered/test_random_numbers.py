"""Random streams by key."""

import torch

from examples.etad.data.rendered.random_numbers import derived_generator, uniform


def first_draw(*key: int | str) -> float:
    return float(torch.rand((), generator=derived_generator(key), dtype=torch.float64))


def test_equal_keys_give_equal_streams_and_others_do_not() -> None:
    keys = [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, "0", 1), (0, 1), (0, 0, 1, 0), (10, 1), (1, 1)]
    draws = [first_draw(*key) for key in keys]
    assert len(set(draws)) == len(keys)
    assert draws == [first_draw(*key) for key in keys]


def test_first_draws_of_neighbouring_keys_are_unrelated() -> None:
    draws = torch.tensor([[first_draw(seed, item) for item in range(200)] for seed in (0, 1)])
    lagged = torch.corrcoef(torch.stack([draws[0, :-1], draws[0, 1:], draws[1, :-1]]))
    assert float((lagged - torch.eye(3)).abs().max()) < 0.3  # four standard deviations


def test_uniform_covers_its_range_and_no_more() -> None:
    draws = uniform(1000, generator=derived_generator((0,)), low=2, high=5)
    assert draws.dtype == torch.float64
    assert 2 <= float(draws.min()) < 2.05
    assert 4.95 < float(draws.max()) < 5


def test_global_random_state_is_neither_used_nor_changed() -> None:
    before = torch.random.get_rng_state()
    uniform(3, generator=derived_generator((0,)))
    assert torch.random.get_rng_state().equal(before)
