"""mAP against hand-made cases and against a loop that follows the definition."""

import json
import math

import pytest
import torch
from hypothesis import given, strategies as st

from examples.etad.evaluation.average_precision import (
    ACTIVITYNET_TIOU,
    THUMOS_TIOU,
    DetectionMetrics,
    evaluate_detections,
    format_markdown,
    format_table,
)
from examples.etad.segments import Detections, GroundTruth

CLASSES = ("jump", "run", "throw")
Videos = tuple[dict[str, GroundTruth], dict[str, Detections]]
seeds = st.integers(0, 2**32 - 1)


def instances(*rows: tuple[float, float, int]) -> GroundTruth:
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)
    return GroundTruth(table[:, :2], table[:, 2].long())


def found(*rows: tuple[float, float, float, int]) -> Detections:
    """Rows are (start, end, score, label)."""
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)
    return Detections(table[:, :2], table[:, 2], table[:, 3].long())


def average_precision(
    ground_truth: GroundTruth, detections: Detections, threshold: float = 0.5
) -> float:
    """AP of a single class in a single video."""
    metrics = evaluate_detections(
        {"v": ground_truth}, {"v": detections}, class_names=("a",), tiou_thresholds=(threshold,)
    )
    return metrics.average_map


def random_videos(seed: int, *, distinct_scores: bool = False) -> Videos:
    """Segments on a coarse grid, so that equal tIoUs, exact thresholds and ties all occur."""
    generator = torch.Generator().manual_seed(seed)

    def integer(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    def segments(count: int) -> torch.Tensor:
        bounds = torch.randint(0, 9, (count, 2), generator=generator).double()
        return bounds.sort(dim=1).values + torch.tensor([0.0, 1.0])

    ground_truth, detections = {}, {}
    for video in range(integer(1, 5)):
        count = integer(0, 5) if video else integer(1, 5)
        labels = torch.randint(0, 2, (count,), generator=generator)
        ground_truth[f"v{video}"] = GroundTruth(segments(count), labels)
        count = integer(0, 9)
        scores = torch.rand(count, generator=generator)
        scores = scores if distinct_scores else (4 * scores).round() / 4
        labels = torch.randint(0, 3, (count,), generator=generator)
        detections[f"v{video}"] = Detections(segments(count), scores, labels)
    return ground_truth, detections


def slow_tiou(first: list[float], second: list[float]) -> float:
    intersection = max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
    return intersection / (first[1] - first[0] + second[1] - second[0] - intersection)


def slow_average_precision(
    ground_truth: dict[str, GroundTruth],
    detections: dict[str, Detections],
    *,
    label: int,
    threshold: float,
) -> float:
    """The definition, one detection at a time; only for a class that has instances."""
    free = {
        video: [
            s for s, k in zip(i.segments_s.tolist(), i.labels.tolist(), strict=True) if k == label
        ]
        for video, i in ground_truth.items()
    }
    num_instances = sum(map(len, free.values()))
    ranking = [
        (score, video, segment)
        for video in ground_truth
        for segment, score, k in zip(
            detections[video].segments_s.tolist(),
            detections[video].scores.tolist(),
            detections[video].labels.tolist(),
            strict=True,
        )
        if k == label
    ]
    curve, num_hits = [], 0
    for rank, (_, video, segment) in enumerate(sorted(ranking, key=lambda row: -row[0]), start=1):
        best = max(free[video], key=lambda other: slow_tiou(segment, other), default=None)
        if best is not None and slow_tiou(segment, best) >= threshold:
            free[video].remove(best)
            num_hits += 1
        curve.append((num_hits, num_hits / rank))
    best_precisions = [
        max(precision for hits, precision in curve if hits >= needed)
        for needed in range(1, num_hits + 1)
    ]
    return math.fsum(best_precisions) / num_instances


def test_ap_of_hit_miss_hit():
    # Precision at the two hits: 1/1 and 2/3; each adds half of the recall.
    ap = average_precision(
        instances((0, 10, 0), (20, 30, 0)),
        found((0, 10, 0.9, 0), (50, 60, 0.8, 0), (20, 30, 0.7, 0)),
    )
    assert ap == pytest.approx(1 / 2 + 1 / 3, rel=1e-12)


def test_ap_takes_the_highest_precision_at_that_recall_or_more():
    # Precision 0, 1/2, 2/3: the envelope lifts the first hit to 2/3.
    ap = average_precision(
        instances((0, 10, 0), (20, 30, 0)),
        found((50, 60, 0.9, 0), (0, 10, 0.8, 0), (20, 30, 0.7, 0)),
    )
    assert ap == pytest.approx(2 / 3, rel=1e-12)


def test_missed_instances_lower_the_ap():
    ap = average_precision(instances((0, 10, 0), (20, 30, 0)), found((0, 10, 0.9, 0)))
    assert ap == pytest.approx(1 / 2, rel=1e-12)


def test_second_detection_of_an_instance_is_a_false_positive():
    ap = average_precision(
        instances((0, 10, 0), (20, 30, 0)),
        found((0, 10, 0.9, 0), (0, 10, 0.8, 0), (20, 30, 0.7, 0)),
    )
    assert ap == pytest.approx(1 / 2 + 1 / 3, rel=1e-12)


def test_detection_takes_the_best_instance_that_is_still_free():
    # Both detections overlap the first instance best; the second one must fall back to the other.
    ap = average_precision(
        instances((0, 10, 0), (2, 12, 0)), found((0, 10, 0.9, 0), (0.5, 10.5, 0.8, 0))
    )
    assert ap == 1.0


def test_detection_does_not_take_a_worse_instance_first():
    # Were [0, 10] to take [2, 12] first, [4, 14] would find nothing: its tIoU with [0, 10] is 0.43.
    ap = average_precision(
        instances((2, 12, 0), (0, 10, 0)), found((0, 10, 0.9, 0), (4, 14, 0.8, 0))
    )
    assert ap == 1.0


def test_detections_in_a_video_without_the_class_are_false_positives():
    metrics = evaluate_detections(
        {"a": instances((0, 10, 0)), "b": instances((0, 10, 1)), "c": instances()},
        {
            "a": found((0, 10, 0.1, 0)),
            "b": found((0, 10, 0.9, 0), (0, 10, 0.9, 1)),
            "c": found((0, 10, 0.8, 0)),
        },
        class_names=CLASSES,
    )
    assert metrics.ap_per_class["jump"] == pytest.approx([1 / 3] * 10, rel=1e-12)
    assert metrics.ap_per_class["run"] == (1.0,) * 10
    assert metrics.videos_without_ground_truth == ("c",)


@pytest.mark.parametrize("twentieths", range(10, 20))
def test_tiou_equal_to_the_threshold_is_a_hit(twentieths: int):
    metrics = evaluate_detections(
        {"v": instances((0, 20, 0))}, {"v": found((0, twentieths, 0.5, 0))}, class_names=CLASSES
    )
    reached = [threshold <= twentieths / 20 for threshold in ACTIVITYNET_TIOU]
    assert metrics.map_per_tiou == tuple(map(float, reached))
    assert sum(reached) == twentieths - 9


def test_perfect_detections_reach_one_at_every_threshold(generator: torch.Generator):
    ground_truth, _ = random_videos(7)
    detections = {
        video: Detections(item.segments_s, torch.rand(len(item), generator=generator), item.labels)
        for video, item in ground_truth.items()
    }
    metrics = evaluate_detections(ground_truth, detections, class_names=CLASSES)
    assert metrics.map_per_tiou == (1.0,) * 10
    assert metrics.average_map == 1.0


@given(seeds)
def test_ap_against_the_slow_definition(seed: int):
    ground_truth, detections = random_videos(seed)
    metrics = evaluate_detections(
        ground_truth, detections, class_names=CLASSES, tiou_thresholds=THUMOS_TIOU
    )
    present = sorted({k for item in ground_truth.values() for k in item.labels.tolist()})
    assert list(metrics.ap_per_class) == [CLASSES[label] for label in present]
    for label in present:
        expected = [
            slow_average_precision(ground_truth, detections, label=label, threshold=threshold)
            for threshold in THUMOS_TIOU
        ]
        assert metrics.ap_per_class[CLASSES[label]] == pytest.approx(expected, rel=1e-12)
    columns = zip(*metrics.ap_per_class.values(), strict=True)
    means = [sum(column) / len(present) for column in columns]
    assert metrics.map_per_tiou == pytest.approx(means, rel=1e-12)
    assert metrics.average_map == pytest.approx(sum(means) / len(means), rel=1e-12)


@given(seeds)
def test_order_of_videos_and_rows_does_not_matter(seed: int):
    ground_truth, detections = random_videos(seed, distinct_scores=True)
    generator = torch.Generator().manual_seed(seed)

    def shuffled(item: Detections) -> Detections:
        order = torch.randperm(len(item), generator=generator)
        return Detections(item.segments_s[order], item.scores[order], item.labels[order])

    reordered = evaluate_detections(
        dict(reversed(ground_truth.items())),
        {video: shuffled(item) for video, item in detections.items()},
        class_names=CLASSES,
    )
    plain = evaluate_detections(ground_truth, detections, class_names=CLASSES)
    assert reordered.ap_per_class == plain.ap_per_class


@given(seeds)
def test_ap_never_rises_with_the_threshold(seed: int):
    ground_truth, detections = random_videos(seed)
    metrics = evaluate_detections(
        ground_truth,
        detections,
        class_names=CLASSES,
        tiou_thresholds=[tenths / 10 for tenths in range(1, 11)],
    )
    for ap in metrics.ap_per_class.values():
        assert list(ap) == sorted(ap, reverse=True)


@given(seeds)
def test_class_agnostic_equals_one_label_for_all(seed: int):
    ground_truth, detections = random_videos(seed)
    agnostic = evaluate_detections(
        ground_truth, detections, class_names=CLASSES, class_agnostic=True
    )
    relabelled = evaluate_detections(
        {v: GroundTruth(i.segments_s, i.labels * 0) for v, i in ground_truth.items()},
        {v: Detections(i.segments_s, i.scores, i.labels * 0) for v, i in detections.items()},
        class_names=("anything",),
    )
    assert agnostic.map_per_tiou == relabelled.map_per_tiou
    assert list(agnostic.ap_per_class) == ["all classes"]


def test_equal_scores_rank_by_video_then_by_row():
    ground_truth = {"a": instances((0, 10, 0)), "b": instances()}
    detections = {"b": found((0, 10, 0.5, 0)), "a": found((0, 10, 0.5, 0), (50, 60, 0.5, 0))}
    metrics = evaluate_detections(ground_truth, detections, class_names=CLASSES)
    assert metrics.average_map == 1.0
    reordered = dict(reversed(ground_truth.items()))
    metrics = evaluate_detections(reordered, detections, class_names=CLASSES)
    assert metrics.average_map == pytest.approx(1 / 2, rel=1e-12)


def example_metrics() -> DetectionMetrics:
    return evaluate_detections(
        {"a": instances((0, 10, 0), (20, 30, 1)), "b": instances((0, 5, 0)), "c": instances()},
        {"a": found((0, 10, 0.9, 0), (0, 10, 0.8, 2)), "c": found()},
        class_names=CLASSES,
        tiou_thresholds=(0.5, 0.95),
    )


def test_counts_say_what_was_evaluated():
    metrics = example_metrics()
    assert metrics.ap_per_class == {"jump": (0.5, 0.5), "run": (0.0, 0.0)}
    assert metrics.average_map == 0.25
    assert metrics.classes_without_ground_truth == ("throw",)
    assert metrics.num_videos == 3
    assert metrics.num_instances == 3
    assert metrics.num_detections == 2
    assert metrics.num_ignored_detections == 1
    assert metrics.videos_without_ground_truth == ("c",)
    assert metrics.videos_without_detections == ("b", "c")


def test_without_any_detection_the_map_is_zero():
    metrics = evaluate_detections({"a": instances((0, 10, 0))}, {}, class_names=CLASSES)
    assert metrics.map_per_tiou == (0.0,) * 10
    assert metrics.videos_without_detections == ("a",)


def test_table_shows_percent_and_whatever_was_left_out():
    assert format_table(example_metrics()).splitlines() == [
        "   tIoU   0.50   0.95  average",
        "mAP (%)  25.00  25.00    25.00",
        "",
        "2 detections, 3 instances of 2 classes in 3 videos",
        "videos without detections: 2",
        "videos without ground truth: 1",
        "classes without ground truth, not in the mean: 1",
        "detections of these classes, ignored: 1",
    ]


def test_table_of_a_complete_evaluation_has_no_remarks():
    metrics = evaluate_detections(
        {"a": instances((0, 10, 0))}, {"a": found((0, 10, 0.9, 0))}, class_names=("jump",)
    )
    last = format_table(metrics).splitlines()[-1]
    assert last == "1 detection, 1 instance of 1 class in 1 video"


def test_markdown_table_shows_percent():
    assert format_markdown(example_metrics()).splitlines() == [
        "| tIoU | 0.50 | 0.95 | average |",
        "| ---: | ---: | ---: | ---: |",
        "| mAP (%) | 25.00 | 25.00 | 25.00 |",
    ]


def test_dictionary_survives_json():
    metrics = example_metrics()
    plain = metrics.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["average_map"] == 0.25
    assert plain["ap_per_class"] == {"jump": [0.5, 0.5], "run": [0.0, 0.0]}
    assert plain["videos_without_detections"] == ["b", "c"]


def test_detections_of_unknown_videos_are_rejected_by_name():
    ground_truth = {"a": instances((0, 10, 0))}
    with pytest.raises(ValueError, match=r"detections=.*2 of 3 videos.*'x', 'y'\. Add"):
        evaluate_detections(
            ground_truth, {"x": found(), "a": found(), "y": found()}, class_names=CLASSES
        )
    many = {f"x{number}": found() for number in range(8)}
    with pytest.raises(ValueError, match="'x0', 'x1', 'x2', 'x3', 'x4' and 3 more"):
        evaluate_detections(ground_truth, many, class_names=CLASSES)


@pytest.mark.parametrize("ground_truth", [{}, {"a": instances()}])
def test_ground_truth_without_any_instance_is_rejected(ground_truth: dict[str, GroundTruth]):
    with pytest.raises(ValueError, match=r"ground_truth=.*at least one instance, got none in"):
        evaluate_detections(ground_truth, {}, class_names=CLASSES)


def test_labels_without_a_name_are_rejected():
    good, bad = instances((0, 10, 0)), instances((0, 10, 3))
    with pytest.raises(
        ValueError, match=r"ground_truth=.*label 3 of video 'b' has no name.*below 3"
    ):
        evaluate_detections({"a": good, "b": bad}, {}, class_names=CLASSES)
    with pytest.raises(ValueError, match=r"detections=.*label 5 of video 'a' has no name"):
        evaluate_detections({"a": good}, {"a": found((0, 1, 0.5, 5))}, class_names=CLASSES)


def test_repeated_class_names_are_rejected():
    with pytest.raises(ValueError, match=r"class_names=.*'jump' occur more than once"):
        evaluate_detections({"a": instances((0, 1, 0))}, {}, class_names=("jump", "run", "jump"))


@pytest.mark.parametrize("thresholds", [(), (0.0, 0.5), (0.5, 1.1), (math.nan,)])
def test_thresholds_outside_their_range_are_rejected(thresholds: tuple[float, ...]):
    with pytest.raises(ValueError, match=r"tiou_thresholds=.*one or more numbers in \(0, 1\]"):
        evaluate_detections(
            {"a": instances((0, 1, 0))}, {}, class_names=CLASSES, tiou_thresholds=thresholds
        )
