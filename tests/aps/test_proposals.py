from collections.abc import Iterator

import pytest
import torch

from aps import dense_proposals, proposal_map


def test_proposals_are_enumerated_by_duration_then_start() -> None:
    thirds = [[0, 1], [1, 2], [2, 3], [0, 2], [1, 3], [0, 3]]
    expected = torch.tensor(thirds, dtype=torch.float32) / 3
    assert torch.equal(dense_proposals(3), expected)


@pytest.fixture
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double_by_default")
def test_proposals_are_float32_whatever_the_default() -> None:
    assert dense_proposals(3).dtype == torch.float32


def test_128_snippets_have_8256_proposals() -> None:
    proposals = dense_proposals(128)
    assert proposals.shape == (8256, 2)
    assert len(proposals.unique(dim=0)) == 8256
    assert proposals.min() == 0
    assert proposals.max() == 1


@pytest.mark.parametrize(("snippets", "durations"), [(1, None), (5, 2), (5, 5), (100, 64)])
def test_max_duration_cuts_the_map(snippets: int, durations: int | None) -> None:
    brute_force = [
        (start / snippets, (start + duration) / snippets)
        for duration in range(1, (durations or snippets) + 1)
        for start in range(snippets)
        if start + duration <= snippets
    ]
    torch.testing.assert_close(dense_proposals(snippets, durations), torch.tensor(brute_force))


def test_map_marks_exactly_the_proposals() -> None:
    assert proposal_map(3, 2).tolist() == [[True, True, True], [True, True, False]]


@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize(
    ("snippets", "durations", "message"),
    [
        (0, None, r"num_snippets=0\): expected an integer of at least 1"),
        (4.0, None, r"num_snippets=4.0\): expected an integer"),
        (4, 2.5, r"max_duration=2.5\): expected a number of snippets"),
        (4, 0, r"max_duration=0\): expected a number of snippets in \[1, 4\]"),
        (4, 5, r"max_duration=5\): expected a number of snippets in \[1, 4\]"),
    ],
)
def test_size_out_of_range_is_refused(snippets: int, durations: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dense_proposals(snippets, durations)
