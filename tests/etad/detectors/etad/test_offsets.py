import math

import pytest
import torch
from hypothesis import given, strategies as st

from aps.tiou import paired_tiou
from examples.etad.detectors.etad.offsets import MIN_SCALE, encode_offsets, refine


def random_segments(count: int, generator: torch.Generator) -> torch.Tensor:
    segments = torch.rand(count, 2, generator=generator, dtype=torch.float64).sort(dim=-1).values
    return segments[segments[:, 1] - segments[:, 0] > 1e-2]


def test_offsets_of_a_known_pair() -> None:
    offsets = encode_offsets(torch.tensor([0.2, 0.4]), torch.tensor([0.1, 0.5]))
    torch.testing.assert_close(offsets, torch.tensor([-0.5, 0.5, 0.0, math.log(2)]))


def test_offsets_of_a_proposal_that_is_the_segment_are_zero() -> None:
    segment = torch.tensor([0.2, 0.4])
    assert encode_offsets(segment, segment).tolist() == [0, 0, 0, 0]


def test_perfect_offsets_refine_exactly_to_the_segment(generator: torch.Generator) -> None:
    proposals, segments = random_segments(500, generator), random_segments(600, generator)
    count = min(len(proposals), len(segments))
    proposals, segments = proposals[:count], segments[:count]
    refined = refine(proposals, encode_offsets(proposals, segments))
    torch.testing.assert_close(refined, segments, rtol=1e-12, atol=1e-12)


def test_no_offsets_change_nothing() -> None:
    proposals = torch.tensor([[0.0, 1.0], [0.25, 0.5]])
    assert refine(proposals, torch.zeros(2, 4)).equal(proposals)


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ([0.5, 0.0, 0.0, 0.0], [0.45, 0.6]),
        ([0.0, 0.5, 0.0, 0.0], [0.4, 0.65]),
        ([0.0, 0.0, 0.5, 0.0], [0.45, 0.65]),
        ([0.0, 0.0, 0.0, math.log(2)], [0.35, 0.65]),
    ],
)
def test_the_answer_is_the_mean_of_start_end_and_centre_width(
    offsets: list[float], expected: list[float]
) -> None:
    proposal = torch.tensor([0.4, 0.6], dtype=torch.float64)
    refined = refine(proposal, torch.tensor(offsets, dtype=torch.float64))
    assert refined.tolist() == pytest.approx(expected)


@given(seed=st.integers(0, 2**31), magnitude=st.sampled_from([0.1, 3.0, 1e4, 1e30]))
def test_refined_proposals_are_ordered_and_inside_the_video(seed: int, magnitude: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    proposals = random_segments(64, generator).float()
    offsets = torch.randn(len(proposals), 4, generator=generator) * magnitude
    refined = refine(proposals, offsets)
    assert refined.isfinite().all()
    assert (refined >= 0).all()
    assert (refined <= 1).all()
    assert (refined[:, 1] - refined[:, 0] >= MIN_SCALE * 0.99).all()


@given(seed=st.integers(0, 2**31))
def test_clipping_never_lowers_a_tiou(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    targets = random_segments(64, generator)
    proposals = random_segments(64, generator)[: len(targets)]
    targets = targets[: len(proposals)]
    offsets = torch.rand(len(proposals), 4, generator=generator, dtype=torch.float64) - 0.5
    offsets[:, 2] = offsets[:, :2].mean(dim=-1)
    length = proposals[:, 1] - proposals[:, 0]
    offsets[:, 3] = (1 + offsets[:, 1] - offsets[:, 0]).log()
    unbounded = proposals + length[:, None] * offsets[:, :2]
    longer = unbounded[:, 1] - unbounded[:, 0] > 2 * MIN_SCALE
    before, after = (
        paired_tiou(unbounded, targets),
        paired_tiou(refine(proposals, offsets), targets),
    )
    assert (after[longer] >= before[longer] - 1e-9).all()


@pytest.mark.parametrize("log_width", [12.0, 1000.0])
def test_a_width_that_overflows_covers_the_video(log_width: float) -> None:
    offsets = torch.tensor([0.0, 0.0, 0.0, log_width], dtype=torch.float16)
    refined = refine(torch.tensor([0.4, 0.6]), offsets)
    assert refined.dtype == torch.float32
    assert refined.tolist() == [0, 1]


def test_a_reversed_result_keeps_its_centre() -> None:
    refined = refine(torch.tensor([0.4, 0.6]), torch.tensor([3.0, -3.0, 0.0, -7.0]))
    assert refined.mean().item() == pytest.approx(0.5)
    assert (refined[1] - refined[0]).item() == pytest.approx(MIN_SCALE, rel=1e-3)


def test_a_result_outside_the_video_is_the_shortest_at_its_edge() -> None:
    refined = refine(torch.tensor([0.8, 0.9]), torch.tensor([9.0, 9.0, 9.0, 0.0]))
    assert refined.tolist() == pytest.approx([1 - MIN_SCALE, 1])


def test_empty_segments_have_finite_offsets() -> None:
    empty = torch.zeros(2)
    assert encode_offsets(torch.tensor([0.2, 0.4]), empty).isfinite().all()
    assert encode_offsets(empty, torch.tensor([0.2, 0.4])).isfinite().all()
