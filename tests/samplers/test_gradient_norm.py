"""`GradientNorm` has probabilities in proportion to the norms, and draws by them exactly."""

import pytest
import torch
from hypothesis import given, strategies as st

from samplers import Candidates, GradientNorm
from samplers._proportional import ONE, draw_systematically, proportional_parts
from tests.samplers import laws


def candidates_of(*norms: float) -> Candidates:
    return Candidates(num_items=len(norms), gradient_norm=torch.tensor(norms, dtype=torch.float64))


def by_hand(norms: list[float], count: int) -> list[float]:
    """Share out what is left until no item has more than 1; slow, and obviously right."""
    certain: set[int] = set()
    while True:
        rest = [i for i in range(len(norms)) if i not in certain]
        total = sum(norms[i] for i in rest)
        left = count - len(certain)
        if not rest or total == 0:
            return [1.0 if i in certain else left / len(rest) for i in range(len(norms))]
        share = {i: norms[i] * left / total for i in rest}
        above = [i for i in rest if share[i] >= 1 - 1e-12]
        if not above or left == 0:
            return [share.get(i, 1.0) for i in range(len(norms))]
        certain |= set(above)


norms = st.lists(st.one_of(st.just(0.0), st.floats(1e-3, 1e3)), min_size=1, max_size=9)


@given(norms=norms, data=st.data())
def test_probability_against_shares_by_hand(norms: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(norms)))
    candidates = candidates_of(*norms)
    probability = GradientNorm().inclusion_probability(candidates, count)
    laws.check_probability(probability, candidates, count)
    expected = torch.tensor(by_hand(norms, count), dtype=torch.float64)
    torch.testing.assert_close(probability, expected, rtol=0, atol=1e-9)


@given(
    size=st.integers(1, 40),
    decades=st.integers(0, 40),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_parts_are_whole_positive_and_sum_up(
    size: int, decades: int, seed: int, data: st.DataObject
) -> None:
    generator = laws.seeded(seed)
    exponent = decades * (torch.rand(size, generator=generator, dtype=torch.float64) - 0.5)
    count = data.draw(st.integers(1, size))
    parts = proportional_parts(10**exponent, count)
    assert int(parts.sum()) == count * ONE
    assert count == size or int(parts.min()) >= 1
    assert int(parts.max()) <= ONE


def check_parts(size: torch.Tensor, count: int) -> torch.Tensor:
    parts = proportional_parts(size, count)
    assert int(parts.sum()) == count * ONE
    assert int(parts.max()) <= ONE
    assert int(parts.min()) >= 1
    return parts


def test_what_rounding_leaves_over_takes_nothing_beyond_certainty() -> None:
    # The largest is just not certain, and a thousand others lose most of a part each.
    size = torch.tensor([1 - 1e-12] + [1e-3] * 1000, dtype=torch.float64)
    check_parts(size, 2)
    lost = int((size / size.sum() * 2 * ONE).frac().sum())
    assert ONE + lost > ONE + 500


@pytest.mark.parametrize("seed", range(50))
def test_shares_that_are_certain_but_for_rounding_are_no_more(seed: int) -> None:
    # Three items of 1 make 3 of 5 places: the others add up to the other two.
    others = torch.rand(6, generator=laws.seeded(seed), dtype=torch.float64) + 0.5
    largest = torch.rand(1, generator=laws.seeded(seed), dtype=torch.float64)
    size = torch.cat([largest.expand(3), largest * 2 * others / others.sum()])
    parts = check_parts(size, 5)
    torch.testing.assert_close(parts[:3] / ONE, torch.ones(3), rtol=0, atol=1e-9)


@pytest.mark.parametrize("count", range(2, 12))
@pytest.mark.parametrize("excess", [1e-9, -1e-9])
def test_share_next_to_certainty_is_told_from_it(count: int, excess: float) -> None:
    rest = count / (1 + excess) - 1
    size = torch.tensor([1.0] + [rest / (count + 2)] * (count + 2), dtype=torch.float64)
    largest = int(check_parts(size, count)[0]) / ONE
    assert largest == pytest.approx(min(1 + excess, 1), abs=1e-11)


def test_smallest_part_is_what_the_smallest_size_gets() -> None:
    size = torch.tensor([1e300, 1e-300, 1e-300], dtype=torch.float64)
    assert check_parts(size, 1).tolist() == [ONE - 2, 1, 1]


def test_systematic_draw_over_all_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every phase counts once: the number of hits is the number of parts."""
    eighth = ONE // 8
    hits = torch.zeros(6, dtype=torch.int64)
    for phase in range(8):
        drawn = torch.tensor([phase * eighth])
        monkeypatch.setattr(torch, "randint", lambda *_, drawn=drawn, **__: drawn)
        index = draw_systematically(torch.tensor([3, 8, 0, 1, 7, 5]) * eighth, laws.seeded(0))
        assert len(index.unique()) == 3
        hits[index] += 1
    assert hits.tolist() == [3, 8, 0, 1, 7, 5]


def test_the_draw_is_spread_over_the_order_of_the_items() -> None:
    candidates = candidates_of(*[1.0] * 40)
    for seed in range(20):
        index = GradientNorm().sample(candidates, 10, generator=laws.seeded(seed))
        assert index.diff().tolist() == [4] * 9


def test_items_without_a_gradient_are_left_out() -> None:
    candidates = candidates_of(0, 1, 0, 2, 0, 3)
    assert GradientNorm().sample(candidates, 3).tolist() == [1, 3, 5]
    assert GradientNorm().inclusion_probability(candidates, 2)[[0, 2, 4]].tolist() == [0, 0, 0]


def test_without_any_gradient_all_are_equal() -> None:
    probability = GradientNorm().inclusion_probability(candidates_of(0, 0, 0, 0), 3)
    assert probability.tolist() == [0.75] * 4


def test_count_is_made_up_with_items_that_have_no_gradient() -> None:
    probability = GradientNorm().inclusion_probability(candidates_of(0, 5, 0, 1e-20), 3)
    assert probability.tolist() == [0.5, 1, 0.5, 1]


@pytest.mark.parametrize("factor", [1e-300, 1e-20, 1e20, 1e300])
def test_size_of_the_norms_does_not_matter(factor: float) -> None:
    values = [1.0, 5.0, 2.0, 0.5]
    found = GradientNorm().inclusion_probability(candidates_of(*(factor * x for x in values)), 2)
    expected = GradientNorm().inclusion_probability(candidates_of(*values), 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_norms_whose_sum_leaves_float64_are_safe() -> None:
    probability = GradientNorm().inclusion_probability(candidates_of(*[1.7e308] * 3), 2)
    torch.testing.assert_close(probability, torch.full((3,), 2 / 3, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_floating_point_type_is_accepted(dtype: torch.dtype) -> None:
    candidates = Candidates(num_items=3, gradient_norm=torch.tensor([1, 2, 1], dtype=dtype))
    probability = GradientNorm().inclusion_probability(candidates, 1)
    torch.testing.assert_close(probability, torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_norms_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"expected finite gradient_norm, .* 1 of 3 rows: 1\."):
        GradientNorm().sample(candidates_of(1, value, 1), 2)


def test_negative_norms_are_refused() -> None:
    with pytest.raises(ValueError, match=r"gradient_norm >= 0, got -2 .* 1 of \d+ rows: 1\."):
        GradientNorm().sample(candidates_of(1, -2, 1), 2)
