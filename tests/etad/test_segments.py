"""The two types of a video check themselves when they are built."""

import pytest
import torch
from torch import Tensor

from examples.etad.segments import Detections, GroundTruth

SEGMENTS_S = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
SCORES = torch.tensor([0.1, 0.9])
LABELS = torch.tensor([0, 3])


def test_top_returns_the_best_first_and_keeps_rows_together():
    detections = Detections(SEGMENTS_S, SCORES, LABELS)
    best = detections.top(1)
    assert best.segments_s.tolist() == [[2.0, 5.0]]
    assert best.scores.tolist() == SCORES[1:].tolist()
    assert best.labels.tolist() == [3]
    assert len(detections.top(5)) == 2


def test_top_keeps_the_order_of_equal_scores():
    count = 50
    detections = Detections(
        torch.zeros(count, 2), torch.ones(count), torch.arange(count, dtype=torch.int64)
    )
    assert detections.top(count).labels.tolist() == list(range(count))


def test_a_video_may_be_empty_and_an_instance_may_have_no_length():
    nothing = torch.empty(0, dtype=torch.int64)
    assert len(Detections(torch.empty(0, 2), torch.empty(0), nothing)) == 0
    assert len(GroundTruth(torch.tensor([[3.0, 3.0]]), torch.tensor([0]))) == 1


@pytest.mark.parametrize(
    ("segments_s", "error", "message"),
    [
        (torch.zeros(2), ValueError, r"expected shape \[count, 2\], got \[2\]"),
        (torch.zeros(2, 3), ValueError, r"expected shape \[count, 2\], got \[2, 3\]"),
        (torch.zeros(2, 2).long(), TypeError, "expected floating-point seconds, got torch.int64"),
        (torch.tensor([[0.0, 1.0], [0.0, torch.nan]]), ValueError, r"finite times.*nan.*row 1"),
        (torch.tensor([[0.0, torch.inf], [0.0, 1.0]]), ValueError, r"finite times.*inf.*row 0"),
        (torch.tensor([[0.0, 1.0], [4.0, 3.0]]), ValueError, r"start <= end.*row 1 \(1 such"),
    ],
)
def test_bad_segments_are_rejected(segments_s: Tensor, error: type[Exception], message: str):
    with pytest.raises(error, match=rf"GroundTruth\(segments_s=.*{message}"):
        GroundTruth(segments_s, LABELS)
    with pytest.raises(error, match=rf"Detections\(segments_s=.*{message}"):
        Detections(segments_s, SCORES, LABELS)


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        (torch.zeros(3), ValueError, r"expected shape \[2\].*got \[3\]"),
        (torch.zeros(2).long(), TypeError, "floating-point scores, got torch.int64"),
        (torch.tensor([0.1, torch.nan]), ValueError, "finite scores, got nan in row 1"),
        (torch.tensor([torch.inf, 0.1]), ValueError, "finite scores, got inf in row 0"),
    ],
)
def test_bad_scores_are_rejected(scores: Tensor, error: type[Exception], message: str):
    with pytest.raises(error, match=rf"Detections\(scores=.*{message}"):
        Detections(SEGMENTS_S, scores, LABELS)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (torch.zeros(2, 1).long(), ValueError, r"expected shape \[2\].*got \[2, 1\]"),
        (torch.zeros(2), TypeError, "expected torch.int64, got torch.float32"),
        (torch.tensor([0, -1]), ValueError, "positions in the list of class names, got -1"),
    ],
)
def test_bad_labels_are_rejected(labels: Tensor, error: type[Exception], message: str):
    with pytest.raises(error, match=rf"GroundTruth\(labels=.*{message}"):
        GroundTruth(SEGMENTS_S, labels)
    with pytest.raises(error, match=rf"Detections\(labels=.*{message}"):
        Detections(SEGMENTS_S, SCORES, labels)
