import pytest
import torch
from hypothesis import given, strategies as st

from aps import pairwise_tiou
from aps.tiou import paired_tiou


def by_hand(first: tuple[float, float], second: tuple[float, float]) -> float:
    """One pair, in Python."""
    intersection = max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
    union = (first[1] - first[0]) + (second[1] - second[0]) - intersection
    return intersection / union if union > 0 else 0.0


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 2), (1, 3), 1 / 3),
        ((0, 2), (0, 2), 1),
        ((0, 4), (1, 2), 1 / 4),
        ((0, 1), (1, 2), 0),
        ((0, 1), (5, 6), 0),
        ((1, 1), (1, 1), 0),
        ((1, 1), (0, 2), 0),
        ((0, 1e-313), (0, 1e-313), 1),
    ],
)
def test_tiou_of_hand_made_cases(
    first: tuple[float, float], second: tuple[float, float], expected: float
) -> None:
    pair = [torch.tensor([segment], dtype=torch.float64) for segment in (first, second)]
    tiou = pairwise_tiou(*pair)
    assert tiou.item() == pytest.approx(expected, abs=1e-15)


def test_segments_that_share_a_bound_are_divided_once() -> None:
    ends = torch.rand(500, 2, generator=torch.Generator().manual_seed(0))
    segments = torch.stack([torch.zeros(500), ends[:, 0]], dim=1)
    others = torch.stack([torch.zeros(500), ends[:, 1]], dim=1)
    tiou = pairwise_tiou(segments, others).diagonal()
    assert torch.equal(tiou, ends.amin(dim=1) / ends.amax(dim=1))


def test_lengths_may_exceed_half_of_the_range_of_the_type() -> None:
    segments = torch.tensor([[0.0, 40_000.0], [20_000.0, 60_000.0]], dtype=torch.float16)
    tiou = pairwise_tiou(segments, segments).double()
    torch.testing.assert_close(
        tiou, torch.tensor([[1.0, 1 / 3], [1 / 3, 1.0]]).double(), atol=1e-3, rtol=0
    )


segments = st.lists(
    st.tuples(st.floats(0, 100), st.floats(0, 100)).map(lambda pair: tuple(sorted(pair))),
    min_size=1,
    max_size=5,
)


@given(first=segments, second=segments)
def test_tiou_against_one_pair_at_a_time(
    first: list[tuple[float, float]], second: list[tuple[float, float]]
) -> None:
    tensors = [torch.tensor(x, dtype=torch.float64) for x in (first, second)]
    expected = torch.tensor([[by_hand(a, b) for b in second] for a in first], dtype=torch.float64)
    torch.testing.assert_close(pairwise_tiou(*tensors), expected, rtol=1e-9, atol=1e-12)


@given(first=segments, second=segments)
def test_paired_tiou_against_pairwise(
    first: list[tuple[float, float]], second: list[tuple[float, float]]
) -> None:
    count = min(len(first), len(second))
    pair = [torch.tensor(x[:count], dtype=torch.float64) for x in (first, second)]
    assert paired_tiou(*pair).equal(pairwise_tiou(*pair).diagonal())
    in_videos = [segments.expand(2, 3, -1, -1) for segments in pair]
    assert paired_tiou(*in_videos).equal(paired_tiou(*pair).expand(2, 3, -1))


def test_tiou_of_no_segments_is_empty() -> None:
    assert pairwise_tiou(torch.zeros(0, 2), torch.zeros(3, 2)).shape == (0, 3)


@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize("wrong", [torch.zeros(2), torch.zeros(3, 3), torch.zeros(3, 2).long()])
@pytest.mark.parametrize("position", [0, 1])
def test_other_shapes_and_types_are_refused(position: int, wrong: torch.Tensor) -> None:
    arguments = [torch.zeros(3, 2), torch.zeros(3, 2)]
    arguments[position] = wrong
    name = ("segments", "others")[position]
    with pytest.raises(
        ValueError, match=rf"{name}=...\): expected a floating point tensor of shape"
    ):
        pairwise_tiou(*arguments)
