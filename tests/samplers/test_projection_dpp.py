"""Rejection sampling of a projection DPP, against enumeration and at the edges."""

from collections import Counter
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from samplers import _projection_dpp
from samplers._projection_dpp import _accept, _orthonormalise, sample_projection
from tests.samplers import laws

DRAWS = 1500


def orthonormal(num_items: int, rank: int) -> Tensor:
    gaussian = torch.randn(num_items, rank, generator=laws.seeded(1), dtype=torch.float64)
    return torch.linalg.qr(gaussian).Q


@pytest.mark.parametrize("block", [2, 256])
def test_subsets_against_squared_determinants(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_projection_dpp, "_PROPOSALS_PER_BLOCK", block)
    basis = orthonormal(6, 3)
    generator = laws.seeded(0)
    counts = Counter(
        tuple(sorted(sample_projection(basis, generator).tolist())) for _ in range(DRAWS)
    )
    subsets = list(combinations(range(6), 3))
    squares = [float(basis[list(subset)].det() ** 2) for subset in subsets]
    common = [i for i, square in enumerate(squares) if square * DRAWS > 5]
    assert len(common) >= 12
    laws.check_frequencies([counts[subsets[i]] for i in common], [squares[i] for i in common])
    with pytest.raises(AssertionError):
        laws.check_frequencies([counts[subsets[i]] for i in common], [1.0] * len(common))


def test_items_without_weight_are_never_drawn() -> None:
    basis = torch.zeros(50, 2, dtype=torch.float64)
    basis[10, 0] = basis[30, 1] = 1
    for seed in range(20):
        drawn = sample_projection(basis, laws.seeded(seed))
        assert sorted(drawn.tolist()) == [10, 30]


def test_square_basis_draws_every_item_once() -> None:
    drawn = sample_projection(orthonormal(40, 40), laws.seeded(0))
    assert sorted(drawn.tolist()) == list(range(40))


def test_empty_basis_draws_nothing() -> None:
    drawn = sample_projection(torch.zeros(4, 0, dtype=torch.float64), laws.seeded(0))
    assert drawn.tolist() == []


@pytest.mark.parametrize("known_from_earlier_block", [False, True])
def test_item_is_not_drawn_twice_even_at_the_lowest_threshold(
    known_from_earlier_block: bool,
) -> None:
    # What rounding leaves of a drawn row is positive for some of these rows.
    for seed in range(50):
        row = torch.randn(1, 8, generator=laws.seeded(seed), dtype=torch.float64)
        directions = torch.zeros(8, 8, dtype=torch.float64)
        drawn: list[int] = []
        for block in [1, 9] if known_from_earlier_block else [10]:
            proposals = torch.full((block,), 3)
            threshold = torch.zeros(block, dtype=torch.float64)
            _accept(proposals, row.expand(block, -1), threshold, directions, drawn)
        assert drawn == [3]


def test_nearly_dependent_row_gives_an_orthonormal_direction() -> None:
    known = orthonormal(9, 4).T
    other = torch.randn(9, generator=laws.seeded(2), dtype=torch.float64)
    direction = _orthonormalise(known.sum(dim=0) + 1e-8 * other, known)
    torch.testing.assert_close(direction.norm().item(), 1.0, rtol=1e-14, atol=0)
    assert (known @ direction).abs().max() < 1e-14


@pytest.mark.parametrize(
    ("uniform", "leverage", "expected"),
    [
        (0.0, [0.0, 1.0], 1),
        (1 - 2.0**-40, [1 - 2.0**-41, 2.0**-41], 0),
        (1 - 2.0**-53, [0.3, 0.7], 1),
    ],
    ids=["the lowest number and no weight", "all digits of a number", "the highest number"],
)
def test_ends_of_what_uniform_numbers_may_be(
    uniform: float, leverage: list[float], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second case item 1 begins just above the number, and at it in single precision."""
    blocks = iter([uniform])

    def rand(*shape: int, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
        return torch.full(shape, next(blocks), dtype=dtype)

    monkeypatch.setattr(torch, "rand", rand)
    basis = torch.tensor(leverage, dtype=torch.float64).sqrt()[:, None]
    assert sample_projection(basis, laws.seeded(0)).tolist() == [expected]
