"""The boundary gate and the way from proposals to detections, by hand-made cases."""

import doctest
import math
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from examples.etad.detectors.etad import boundary_gate
from examples.etad.detectors.etad.boundary_gate import containing_snippet, pass_boundary_gate
from examples.etad.detectors.etad.postprocess import PostprocessConfig, boundary_mask, postprocess
from examples.etad.segments import Detections

seeds = st.integers(0, 2**32 - 1)
OPEN = PostprocessConfig(boundary_gate=False)
EVERYWHERE = torch.ones(4)


def rows(*values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 2)


def detect(
    segments: Tensor,
    iou: Tensor,
    *,
    startness: Tensor = EVERYWHERE,
    endness: Tensor = EVERYWHERE,
    duration_s: float = 100.0,
    class_probabilities: Tensor | None = None,
    config: PostprocessConfig = OPEN,
) -> Detections:
    return postprocess(
        segments,
        iou,
        startness=startness,
        endness=endness,
        duration_s=duration_s,
        class_probabilities=class_probabilities,
        config=config,
    )


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        # Above half of the maximum, 0.45; 0.45 itself is not, and is no peak either.
        ([0.9, 0.5, 0.45, 0.4], [1, 1, 0, 0]),
        # Low peaks count, also at both ends, where the neighbour outside is 0.
        ([0.2, 0.1, 0.2, 0.1, 0.9, 0.1, 0.2], [1, 0, 1, 0, 1, 0, 1]),
        # A low plateau is no peak; a high one is above half of the maximum.
        ([0.9, 0.0, 0.2, 0.2, 0.0, 0.8, 0.8], [1, 0, 0, 0, 0, 1, 1]),
        ([0.3], [1]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
        ([0.4, 0.4, 0.4], [1, 1, 1]),
    ],
)
def test_boundary_mask_by_hand(probability: list[float], expected: list[int]):
    assert boundary_mask(torch.tensor(probability)).int().tolist() == expected


@given(seeds, st.integers(1, 12))
def test_boundary_mask_against_the_slow_loop(seed: int, num_snippets: int):
    generator = torch.Generator().manual_seed(seed)
    probability = torch.randint(0, 6, (num_snippets,), generator=generator) / 5
    padded = [0.0, *probability.tolist(), 0.0]
    expected = [
        padded[i] > 0.5 * max(padded) or padded[i - 1] < padded[i] > padded[i + 1]
        for i in range(1, num_snippets + 1)
    ]
    assert boundary_mask(probability).tolist() == expected


def test_gate_needs_a_likely_start_and_a_likely_end():
    startness = torch.tensor([0.0, 0.9, 0.0, 0.0])
    endness = torch.tensor([0.0, 0.0, 0.9, 0.0])
    segments = rows((0.3, 0.6), (0.3, 0.4), (0.6, 0.7), (0.6, 0.8))
    keep = pass_boundary_gate(segments, startness=startness, endness=endness)
    assert keep.tolist() == [True, False, False, False]


def test_gate_always_lets_the_whole_video_pass():
    nothing = torch.zeros(4)
    segments = rows((0.0, 1.0), (0.0, 0.8), (0.2, 1.0), (0.1, 0.7), (-0.3, 1.4), (0.3, 1.0))
    keep = pass_boundary_gate(segments, startness=nothing, endness=nothing)
    assert keep.tolist() == [True, True, True, False, True, False]


def test_a_border_belongs_to_the_later_snippet():
    times = torch.tensor([0.0, 0.24, 0.25, 0.5, 0.99, 1.0, 1.7, -0.2])
    snippets = containing_snippet(times, num_snippets=4)
    assert snippets.tolist() == [0, 0, 1, 2, 3, 3, 3, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_snippets", [100, 128, 1000])
def test_rounding_does_not_move_a_border_to_the_snippet_before(
    num_snippets: int, dtype: torch.dtype
):
    snippets = torch.arange(num_snippets)
    borders = snippets.to(dtype) / num_snippets
    assert torch.equal(containing_snippet(borders, num_snippets=num_snippets), snippets)


def test_plain_floor_would_move_a_border():
    snippets = torch.arange(100)
    assert not torch.equal((snippets.double() / 100 * 100).floor().long(), snippets)


def test_score_is_the_product_of_both_ious():
    detections = detect(rows((0.1, 0.3), (0.5, 0.9)), rows((0.5, 0.4), (0.9, 0.8)))
    assert detections.segments_s.tolist() == [[50.0, 90.0], pytest.approx([10.0, 30.0])]
    assert detections.scores.tolist() == pytest.approx([0.72, 0.2], rel=1e-12)
    assert detections.labels.tolist() == [0, 0]


def test_boundary_score_multiplies_startness_and_endness_at_the_bounds():
    detections = detect(
        rows((0.1, 0.3), (0.5, 1.0)),
        rows((0.5, 0.4), (0.9, 0.8)),
        startness=torch.tensor([0.5, 0.1, 0.25, 0.1], dtype=torch.float64),
        endness=torch.tensor([0.1, 0.75, 0.1, 0.5], dtype=torch.float64),
        config=PostprocessConfig(boundary_gate=False, score="boundary_iou"),
    )
    expected = [0.9 * 0.8 * 0.25 * 0.5, 0.5 * 0.4 * 0.5 * 0.75]
    assert detections.scores.tolist() == pytest.approx(expected, rel=1e-12)


def test_gate_is_on_by_default_and_drops_the_best_proposal():
    startness = torch.tensor([0.0, 0.9, 0.0, 0.0])
    segments, iou = rows((0.6, 0.9), (0.3, 0.9)), rows((1.0, 1.0), (0.5, 0.5))
    arguments: dict[str, Any] = {"startness": startness, "endness": EVERYWHERE, "duration_s": 10}
    gated = postprocess(segments, iou, **arguments)
    assert gated.segments_s.tolist() == [pytest.approx([3.0, 9.0])]
    assert len(postprocess(segments, iou, **arguments, config=OPEN)) == 2


def test_gate_that_keeps_nothing_gives_no_detections():
    nothing = torch.zeros(4)
    detections = detect(
        rows((0.3, 0.6)),
        rows((1.0, 1.0)),
        startness=nothing,
        endness=nothing,
        class_probabilities=torch.rand(5, generator=torch.Generator().manual_seed(0)),
        config=PostprocessConfig(),
    )
    assert len(detections) == 0
    assert detections.segments_s.shape == (0, 2)


@pytest.mark.parametrize("per_class", [False, True])
def test_no_proposals_give_no_detections(per_class: bool):
    config = PostprocessConfig(nms_per_class=per_class)
    assert len(detect(rows(), rows(), config=config)) == 0


def test_segments_are_clipped_and_those_without_length_are_dropped():
    segments = rows((-0.2, 0.5), (0.6, 1.5), (1.1, 1.3), (0.7, 0.7), (0.4, 0.2), (-0.5, 0.0))
    iou = rows(*[(1.0, 0.9 - 0.1 * k) for k in range(6)])
    detections = detect(segments, iou, duration_s=60.0)
    assert detections.segments_s.tolist() == [[0.0, 30.0], pytest.approx([36.0, 60.0])]
    assert detections.segments_s.max() == 60.0


def test_segments_suppress_each_other_by_what_is_left_after_clipping():
    # Both are [0.8, 1] after clipping, so the second falls by exp(-1 / 0.35).
    detections = detect(rows((0.8, 1.0), (0.8, 3.0)), rows((1.0, 1.0), (1.0, 1.0)))
    assert detections.scores.tolist() == pytest.approx([1.0, math.exp(-1 / 0.35)], rel=1e-12)


def test_video_level_classes_multiply_the_score():
    detections = detect(
        rows((0.1, 0.3), (0.5, 0.9)),
        rows((1.0, 0.5), (1.0, 1.0)),
        class_probabilities=torch.tensor([0.1, 0.6, 0.3], dtype=torch.float64),
    )
    # Soft-NMS scores 1 and 0.5, each with class 1 (0.6) and class 2 (0.3), stable in ties.
    assert detections.scores.tolist() == pytest.approx([0.6, 0.3, 0.3, 0.15], rel=1e-12)
    assert detections.labels.tolist() == [1, 2, 1, 2]
    starts = detections.segments_s[:, 0].tolist()
    assert starts == pytest.approx([50.0, 50.0, 10.0, 10.0])


def test_proposal_level_classes_belong_to_their_proposal():
    detections = detect(
        rows((0.1, 0.3), (0.5, 0.9)),
        rows((1.0, 0.5), (1.0, 1.0)),
        class_probabilities=torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.2, 0.8]], dtype=torch.float64),
        config=PostprocessConfig(boundary_gate=False, top_classes=1),
    )
    assert detections.labels.tolist() == [2, 0]
    assert detections.scores.tolist() == pytest.approx([0.8, 0.45], rel=1e-12)


def test_fewer_classes_than_asked_for_are_reported_once_each():
    detections = detect(rows((0.1, 0.3)), rows((1.0, 1.0)), class_probabilities=torch.tensor([0.7]))
    assert detections.labels.tolist() == [0]


def test_nms_per_class_keeps_a_copy_of_each_class_unsuppressed():
    # Two copies of one segment, of different best class.
    segments, iou = rows((0.1, 0.3), (0.1, 0.3)), rows((1.0, 1.0), (1.0, 1.0))
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    apart = PostprocessConfig(boundary_gate=False, top_classes=1, nms_per_class=True)
    kept = detect(segments, iou, class_probabilities=probabilities, config=apart)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.8], rel=1e-12)
    together = PostprocessConfig(boundary_gate=False, top_classes=1)
    kept = detect(segments, iou, class_probabilities=probabilities, config=together)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.8 * math.exp(-1 / 0.35)], rel=1e-12)


@pytest.mark.parametrize("per_class", [False, True])
def test_max_detections_counts_segments_and_not_their_classes(per_class: bool):
    generator = torch.Generator().manual_seed(0)
    segments = torch.rand(30, 2, generator=generator).sort(dim=1).values
    config = PostprocessConfig(
        boundary_gate=False, max_detections=7, top_classes=3, nms_per_class=per_class
    )
    probabilities = torch.rand(5, generator=generator)
    detections = detect(
        segments,
        torch.rand(30, 2, generator=generator),
        class_probabilities=probabilities,
        config=config,
    )
    assert len(detections) == 7 * 3
    assert set(detections.labels.tolist()) == set(probabilities.topk(3).indices.tolist())


def test_min_score_and_sigma_reach_soft_nms():
    segments, iou = rows((0.1, 0.3), (0.1, 0.3)), rows((1.0, 1.0), (1.0, 1.0))
    loose = PostprocessConfig(boundary_gate=False, sigma=2.0)
    assert detect(segments, iou, config=loose).scores.tolist() == pytest.approx(
        [1.0, math.exp(-0.5)], rel=1e-12
    )
    strict = PostprocessConfig(boundary_gate=False, min_score=0.1)
    assert len(detect(segments, iou, config=strict)) == 1


def test_output_of_a_training_step_needs_no_preparation():
    iou = torch.full((2, 2), 0.5, dtype=torch.bfloat16, requires_grad=True)
    detections = detect(rows((0.1, 0.3), (0.5, 0.9)).bfloat16(), iou)
    assert detections.scores.dtype == torch.float64
    assert not detections.scores.requires_grad


@given(seeds, st.booleans())
def test_detections_lie_in_the_video_best_first(seed: int, per_class: bool):
    generator = torch.Generator().manual_seed(seed)
    detections = detect(
        0.5 + torch.randn(50, 2, generator=generator),
        torch.rand(50, 2, generator=generator),
        startness=torch.rand(9, generator=generator),
        endness=torch.rand(9, generator=generator),
        duration_s=33.3,
        class_probabilities=torch.rand(50, 4, generator=generator),
        config=PostprocessConfig(nms_per_class=per_class, score="boundary_iou"),
    )
    assert bool((detections.segments_s >= 0).all())
    assert bool((detections.segments_s <= 33.3).all())
    assert bool((detections.segments_s.diff(dim=1) > 0).all())
    assert bool((detections.scores.diff() <= 0).all())


def test_examples_in_the_docstrings_run():
    assert doctest.testmod(boundary_gate) == (0, 1)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"segments": torch.zeros(2, 3)}, r"segments=.*\[2, 2\] \(proposals, 2\), got \[2, 3\]"),
        ({"segments": torch.zeros(1, 2, 2)}, r"segments=.*got \[1, 2, 2\]\. Pass one video"),
        ({"iou": torch.zeros(3, 2)}, r"iou=.*expected shape \[2, 2\].*got \[3, 2\]"),
        ({"startness": torch.zeros(1, 4)}, r"startness=.*expected shape \[4\].*got \[1, 4\]"),
        ({"startness": torch.zeros(0)}, r"startness=.*expected shape \[1\].*got \[0\]"),
        ({"endness": torch.zeros(5)}, r"endness=.*expected shape \[4\].*got \[5\]"),
        ({"segments": rows((0.1, 0.2), (0.3, math.inf))}, r"segments=.*inf\] for proposal 1"),
        ({"iou": rows((0.1, 0.2), (0.3, 1.5))}, r"iou=.*in \[0, 1\], got 1.5"),
        ({"startness": EVERYWHERE * -1}, r"startness=.*in \[0, 1\], got -1"),
        ({"endness": EVERYWHERE * math.nan}, r"endness=.*in \[0, 1\], got nan"),
        ({"duration_s": 0.0}, r"duration_s=0.0\): expected the length of the video"),
        ({"duration_s": math.inf}, r"duration_s=inf\): expected the length of the video"),
        ({"class_probabilities": torch.zeros(3, 5)}, r"class_probabilities=.*\[2, 5\].*\[3, 5\]"),
        ({"class_probabilities": torch.zeros(0)}, r"class_probabilities=.*\[1\].*got \[0\]"),
        ({"class_probabilities": torch.tensor(0.5)}, r"class_probabilities=.*\[1\].*got \[\]"),
        ({"class_probabilities": torch.tensor([0.5, -1])}, r"in \[0, inf\], got -1"),
        ({"class_probabilities": torch.tensor([0.5, math.inf])}, r"in \[0, inf\], got inf"),
    ],
)
def test_bad_outputs_of_the_detector_are_rejected(replaced: dict[str, Any], message: str):
    arguments = {"segments": rows((0.1, 0.2), (0.3, 0.4)), "iou": rows((1.0, 1.0), (1.0, 1.0))}
    with pytest.raises(ValueError, match=rf"postprocess\(.*{message}"):
        detect(**(arguments | replaced))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "iuo"}, r"score='iuo'\): expected one of \('iou', 'boundary_iou'\)"),
        ({"sigma": 0.0}, r"sigma=0.0\): expected a positive number"),
        ({"max_detections": 0}, r"max_detections=0\): expected at least 1"),
        ({"top_classes": 0}, r"top_classes=0\): expected at least 1"),
    ],
)
def test_bad_options_are_rejected_when_the_configuration_is_built(
    options: dict[str, Any], message: str
):
    with pytest.raises(ValueError, match=rf"PostprocessConfig\({message}"):
        PostprocessConfig(**options)
