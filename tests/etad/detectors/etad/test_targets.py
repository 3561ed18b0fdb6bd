import pytest
import torch
from torch import Tensor

from aps.tiou import paired_tiou
from examples.etad.detectors.etad.targets import (
    assign_ground_truth,
    at_proposal_boundaries,
    boundary_targets,
    check_ground_truth,
)


def random_segments(*shape: int, generator: torch.Generator) -> Tensor:
    draw = torch.rand(*shape, 2, generator=generator, dtype=torch.float64)
    return draw.sort(dim=-1).values


def positive_snippets(gt: list[list[float]], *, num_snippets: int) -> tuple[list[int], list[int]]:
    targets = boundary_targets(
        [torch.tensor(gt).view(-1, 2)], num_snippets=num_snippets, region_snippets=3.0
    )
    starts, ends = (targets[0] > 0.5).unbind(-1)
    return starts.nonzero().flatten().tolist(), ends.nonzero().flatten().tolist()


def test_a_boundary_inside_a_snippet_makes_three_snippets_positive() -> None:
    starts, ends = positive_snippets([[2.3 / 8, 5.6 / 8]], num_snippets=8)
    assert starts == [1, 2, 3]
    assert ends == [4, 5, 6]


@pytest.mark.parametrize("num_snippets", [8, 10, 49, 100, 128])
def test_a_boundary_between_snippets_makes_two_positive_whatever_the_rounding(
    num_snippets: int,
) -> None:
    for edge in range(2, num_snippets - 1):
        starts, _ = positive_snippets([[edge / num_snippets, 1.0]], num_snippets=num_snippets)
        assert starts == [edge - 1, edge]


def test_a_boundary_of_the_video_makes_one_snippet_positive() -> None:
    assert positive_snippets([[0.0, 1.0]], num_snippets=8) == ([0], [7])


def test_boundary_targets_are_covered_fractions() -> None:
    targets = boundary_targets([torch.tensor([[0.25, 0.75]])], num_snippets=8, region_snippets=3.0)
    # The start at 2 covers [0.5, 3.5], the end at 6 covers [4.5, 7.5].
    expected = torch.tensor([[0.5, 1, 1, 0.5, 0, 0, 0, 0], [0, 0, 0, 0, 0.5, 1, 1, 0.5]])
    torch.testing.assert_close(targets[0].T, expected, rtol=0, atol=2e-4)


def test_the_region_has_the_width_it_is_told() -> None:
    targets = boundary_targets([torch.tensor([[0.5, 0.5]])], num_snippets=8, region_snippets=5.0)
    assert targets[0, :, 0].sum().item() == pytest.approx(5, abs=1e-2)


def test_boundary_targets_take_the_largest_over_instances() -> None:
    both = boundary_targets(
        [torch.tensor([[0.1, 0.4], [0.15, 0.9]])], num_snippets=16, region_snippets=3.0
    )
    single = [
        boundary_targets([torch.tensor([gt])], num_snippets=16, region_snippets=3.0)
        for gt in ([0.1, 0.4], [0.15, 0.9])
    ]
    assert both.equal(torch.maximum(*single))


def test_a_video_without_instances_has_no_boundary() -> None:
    gt_segments = [torch.zeros(0, 2), torch.tensor([[0.2, 0.6]])]
    targets = boundary_targets(gt_segments, num_snippets=8, region_snippets=3.0)
    assert targets.shape == (2, 8, 2)
    assert targets[0].eq(0).all()
    assert targets[1].gt(0.5).any()


def test_assignment_against_a_search_over_instances(generator: torch.Generator) -> None:
    proposals = random_segments(3, 20, generator=generator)
    gt_segments = [random_segments(count, generator=generator) for count in (1, 4, 6)]
    gt_labels = [torch.randperm(len(gt), generator=generator) for gt in gt_segments]
    assignment = assign_ground_truth(proposals, gt_segments, gt_labels=gt_labels)
    assert assignment.labels is not None
    for video in range(3):
        for i, proposal in enumerate(proposals[video]):
            tious = [paired_tiou(proposal, gt).item() for gt in gt_segments[video]]
            best = tious.index(max(tious))
            assert assignment.segments[video, i].equal(gt_segments[video][best])
            assert assignment.labels[video, i] == gt_labels[video][best]


def test_without_instances_a_proposal_is_assigned_what_overlaps_nothing() -> None:
    proposals = torch.tensor([[[0.0, 0.5], [0.2, 1.0]]])
    assignment = assign_ground_truth(
        proposals, [torch.zeros(0, 2)], gt_labels=[torch.zeros(0, dtype=torch.int64)]
    )
    assert paired_tiou(proposals, assignment.segments).tolist() == [[0, 0]]
    assert assignment.labels is not None
    assert assignment.labels.tolist() == [[0, 0]]


def test_without_labels_none_are_assigned() -> None:
    assignment = assign_ground_truth(torch.tensor([[[0.0, 0.5]]]), [torch.tensor([[0.1, 0.3]])])
    assert assignment.labels is None


def test_instances_take_the_precision_of_the_proposals() -> None:
    gt_segments = [torch.tensor([[0.1, 0.3]], dtype=torch.float64)]
    assignment = assign_ground_truth(torch.tensor([[[0.0, 0.5]]]), gt_segments)
    assert assignment.segments.dtype == torch.float32


@pytest.mark.parametrize("num_snippets", [8, 49, 100])
def test_a_proposal_on_the_grid_reads_the_snippet_its_bound_begins(num_snippets: int) -> None:
    index = torch.arange(num_snippets).float()
    targets = torch.stack([index, index + 1000], dim=-1)[None]
    edges = torch.arange(num_snippets + 1) / num_snippets
    proposals = torch.stack([edges[:-1], edges[1:]], dim=-1)[None]
    found = at_proposal_boundaries(targets, proposals)[0]
    assert found[:, 0].tolist() == list(range(num_snippets))
    last = num_snippets - 1
    assert found[:, 1].tolist() == [1000.0 + min(i + 1, last) for i in range(num_snippets)]


def test_each_video_reads_its_own_targets() -> None:
    targets = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
    found = at_proposal_boundaries(targets, torch.tensor([[[0.1, 0.9]], [[0.1, 0.9]]]))
    assert found.tolist() == [[[1, 2]], [[3, 4]]]


def check(
    gt_segments: list[Tensor], gt_labels: list[Tensor] | None = None, *, num_classes: int = 0
) -> None:
    check_ground_truth(gt_segments, gt_labels=gt_labels, batch_size=1, num_classes=num_classes)


def test_proper_ground_truth_is_accepted() -> None:
    check([torch.tensor([[0.0, 1.0], [0.5, 0.5]])], [torch.tensor([0, 4])], num_classes=5)
    check([torch.zeros(0, 2)], [torch.zeros(0, dtype=torch.int64)], num_classes=5)
    check([torch.tensor([[0.1, 0.2]])])


def test_a_missing_video_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"expected one tensor per video, 1, got 0\. Pass an empty"
    ):
        check([])


def test_segments_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"gt_segments\[0\]=...\): expected shape \(instances, 2\)"
    ):
        check([torch.tensor([0.1, 0.2])])


@pytest.mark.parametrize("segment", [[2.0, 9.0], [-0.1, 0.5], [0.6, 0.5], [float("nan"), 0.5]])
def test_segments_that_are_not_normalised_are_refused(segment: list[float]) -> None:
    with pytest.raises(ValueError, match="expected 0 <= start <= end <= 1, got"):
        check([torch.tensor([segment])])


@pytest.mark.parametrize("labels", [None, [], [torch.tensor([1, 2])]])
def test_missing_labels_are_refused(labels: list[Tensor] | None) -> None:
    with pytest.raises(ValueError, match=r"expected one label per instance, \[1\], got"):
        check([torch.tensor([[0.1, 0.2]])], labels, num_classes=3)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_are_refused(label: int) -> None:
    with pytest.raises(ValueError, match=r"expected values in \[0, 3\), got \[-?\d\]"):
        check([torch.tensor([[0.1, 0.2]])], [torch.tensor([label])], num_classes=3)
