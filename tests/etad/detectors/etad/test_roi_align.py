import math

import pytest
import torch
from torch import Tensor

from examples.etad.detectors.etad.roi_align import interpolation_weights, roi_align_1d


def ramp(num_snippets: int) -> Tensor:
    return torch.arange(num_snippets, dtype=torch.float64).view(1, 1, -1)


def align_one(features: Tensor, segment: list[float], *, num_bins: int, aligned: bool) -> Tensor:
    segments = torch.tensor([[segment]], dtype=torch.float64)
    return roi_align_1d(features, segments, num_bins=num_bins, aligned=aligned)[0, 0]


def interpolate(sequence: list[float], position: float) -> float:
    if not -1 <= position <= len(sequence):
        return 0.0
    position = max(position, 0.0)
    lower = math.floor(position)
    if lower >= len(sequence) - 1:
        return sequence[-1]
    fraction = position - lower
    return (1 - fraction) * sequence[lower] + fraction * sequence[lower + 1]


def roi_align_by_loops(
    sequence: list[float], segment: list[float], *, num_bins: int, aligned: bool
) -> list[float]:
    start, end = (bound - 0.5 for bound in segment) if aligned else segment
    length = end - start if aligned else max(end - start, 1.0)
    points = math.ceil(length / num_bins)
    if points <= 0:
        return [0.0] * num_bins
    width = length / num_bins
    return [
        sum(
            interpolate(sequence, start + index * width + (point + 0.5) * width / points)
            for point in range(points)
        )
        / points
        for index in range(num_bins)
    ]


@pytest.mark.parametrize(
    ("aligned", "expected"),
    [
        (False, [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.0]),
        (True, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
    ],
)
def test_a_ramp_over_eight_snippets(aligned: bool, expected: list[float]) -> None:
    bins = align_one(ramp(8), [0, 8], num_bins=8, aligned=aligned)
    assert bins.squeeze(0).tolist() == expected


def test_a_bin_averages_several_points_where_it_is_longer_than_a_snippet() -> None:
    # Two bins of 2.5 snippets with three points each, at 5/12, 15/12, 25/12 and so on.
    bins = align_one(ramp(32), [8, 13], num_bins=2, aligned=False)
    torch.testing.assert_close(bins, torch.tensor([[8 + 1.25, 8 + 3.75]], dtype=torch.float64))
    curve = ramp(32).square()
    expected = roi_align_by_loops(curve[0, 0].tolist(), [8, 13], num_bins=2, aligned=False)
    one_point_each = [interpolate(curve[0, 0].tolist(), 8 + x) for x in (1.25, 3.75)]
    assert expected != pytest.approx(one_point_each)
    found = align_one(curve, [8, 13], num_bins=2, aligned=False)
    assert found[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("num_bins", [1, 5, 24])
@pytest.mark.parametrize("num_snippets", [1, 2, 7, 32])
def test_against_loops_over_proposals_bins_and_points(
    num_snippets: int, num_bins: int, aligned: bool, generator: torch.Generator
) -> None:
    features = torch.randn(2, 3, num_snippets, generator=generator, dtype=torch.float64)
    # From well before the video to well after it, a quarter of them reversed, some very short.
    centres = torch.rand(2, 20, 1, generator=generator, dtype=torch.float64) * 1.5 - 0.25
    halves = torch.rand(2, 20, 1, generator=generator, dtype=torch.float64).pow(3) - 0.02
    segments = torch.cat([centres - halves, centres + halves], dim=-1) * num_snippets
    found = roi_align_1d(features, segments, num_bins=num_bins, aligned=aligned)
    expected = [
        [
            [
                roi_align_by_loops(channel, segment, num_bins=num_bins, aligned=aligned)
                for channel in features[video].tolist()
            ]
            for segment in segments[video].tolist()
        ]
        for video in range(2)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_points_up_to_a_snippet_outside_take_the_outermost_feature_and_others_zero() -> None:
    features = torch.tensor([[[3.0, 5.0, 7.0]]], dtype=torch.float64)
    before = align_one(features, [-4, 0], num_bins=4, aligned=False)
    assert before[0].tolist() == [0, 0, 0, 3]
    after = align_one(features, [2, 6], num_bins=4, aligned=False)
    assert after[0].tolist() == [7, 0, 0, 0]


def test_zeros_outside_count_in_the_mean_of_a_bin() -> None:
    features = torch.ones(1, 1, 4, dtype=torch.float64)
    # Points at -3.5, -2.5, -1.5, -0.5: only the last is near enough to take the first feature.
    assert align_one(features, [-4, 0], num_bins=1, aligned=False).item() == 0.25


def test_a_short_segment_is_one_snippet_long_only_without_alignment() -> None:
    found = align_one(ramp(8), [2, 2.25], num_bins=2, aligned=False)
    assert found[0].tolist() == [2.25, 2.75]
    found = align_one(ramp(8), [2, 2.25], num_bins=2, aligned=True)
    assert found[0].tolist() == [1.5625, 1.6875]


def test_a_reversed_segment_starts_at_its_start_or_is_all_zeros() -> None:
    found = align_one(ramp(8), [5, 3], num_bins=2, aligned=False)
    assert found[0].tolist() == [5.25, 5.75]
    assert align_one(ramp(8) + 1, [5, 3], num_bins=2, aligned=True).eq(0).all()


@pytest.mark.parametrize("segment", [[math.nan, 2.0], [0.0, math.inf], [-math.inf, math.inf]])
@pytest.mark.parametrize("aligned", [False, True])
def test_a_segment_that_is_not_finite_is_all_zeros(segment: list[float], aligned: bool) -> None:
    assert align_one(ramp(4) + 1, segment, num_bins=3, aligned=aligned).eq(0).all()


def test_weights_of_a_bin_inside_the_video_add_up_to_one(generator: torch.Generator) -> None:
    segments = torch.rand(2, 50, 2, generator=generator).sort(dim=-1).values * 16
    weights = interpolation_weights(segments, num_snippets=16, num_bins=6, aligned=True)
    assert weights.shape == (2, 50, 6, 16)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 50, 6))


def test_a_proposal_does_not_depend_on_longer_ones_beside_it() -> None:
    segments = torch.tensor([[[3.0, 5.0], [0.0, 64.0]]])
    both = interpolation_weights(segments, num_snippets=64, num_bins=4, aligned=False)
    alone = interpolation_weights(segments[:, :1], num_snippets=64, num_bins=4, aligned=False)
    assert both[:, :1].equal(alone)


@pytest.mark.parametrize("aligned", [False, True])
def test_feature_gradients_against_finite_differences(
    aligned: bool, generator: torch.Generator
) -> None:
    features = torch.randn(2, 2, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    segments = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64) * 4 + 3
    torch.autograd.gradcheck(
        lambda x: roi_align_1d(x, segments, num_bins=4, aligned=aligned), features
    )


def test_segments_receive_no_gradient() -> None:
    segments = torch.tensor([[[1.0, 3.0]]], requires_grad=True)
    features = torch.rand(1, 1, 4, requires_grad=True)
    roi_align_1d(features, segments, num_bins=2, aligned=False).sum().backward()
    assert segments.grad is None


def test_half_precision_features_keep_exact_positions() -> None:
    features = torch.zeros(1, 1, 1024, dtype=torch.bfloat16)
    features[..., 1001:] = 1
    # bfloat16 has no number between 1000 and 1004.
    bins = roi_align_1d(features, torch.tensor([[[1000.0, 1004.0]]]), num_bins=4, aligned=True)
    assert bins.dtype == torch.bfloat16
    assert bins.flatten().tolist() == [0, 1, 1, 1]
