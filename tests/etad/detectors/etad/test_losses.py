import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from aps.tiou import paired_tiou
from examples.etad.detectors.etad.config import PRESETS, DetectorConfig
from examples.etad.detectors.etad.losses import classification, detection_loss, offset_regression
from examples.etad.detectors.etad.offsets import encode_offsets
from examples.etad.detectors.etad.output import DetectorOutput, StageOutput

CONFIG = PRESETS["official"]
NUM_SNIPPETS = 16


def random_proposals(batch: int, count: int, generator: torch.Generator) -> Tensor:
    start = torch.randint(0, NUM_SNIPPETS, (batch, count), generator=generator)
    room = torch.rand(batch, count, generator=generator) * (NUM_SNIPPETS - start)
    return torch.stack([start, start + room.long() + 1], dim=-1).double() / NUM_SNIPPETS


def random_output(
    proposals: list[Tensor], generator: torch.Generator, *, num_classes: int = 0
) -> DetectorOutput:
    """Return random predictions for the proposals of each stage."""

    def draw(*shape: int) -> Tensor:
        value = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return value.requires_grad_()

    batch, count, _ = proposals[0].shape
    stages = tuple(
        StageOutput(
            proposals=given,
            refined=given,
            tiou_logits=draw(batch, count, 2),
            boundary_logits=draw(batch, count, 2),
            offsets=draw(batch, count, 4),
            class_logits=draw(batch, count, num_classes) if num_classes and i == 2 else None,
        )
        for i, given in enumerate(proposals)
    )
    return DetectorOutput(draw(batch, NUM_SNIPPETS), draw(batch, NUM_SNIPPETS), stages)


def smooth_l1(error: float) -> float:
    return 0.5 * error * error if abs(error) < 1 else abs(error) - 0.5


def binary_cross_entropy(logit: float, positive: bool) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if positive else 1 - probability)


def weighted_by_loops(logits: list[float], positive: list[bool]) -> float:
    losses = [binary_cross_entropy(*pair) for pair in zip(logits, positive, strict=True)]
    sides = [
        [loss for loss, is_positive in zip(losses, positive, strict=True) if is_positive == side]
        for side in (True, False)
    ]
    means = [sum(side) / len(side) for side in sides if side]
    return sum(means) / len(means)


def boundary_by_loops(time: float) -> list[bool]:
    """Return which snippets a boundary at `time` makes positive."""
    position = time * NUM_SNIPPETS
    return [
        min(i + 1, position + 1.5) - max(i, position - 1.5) > 0.5 + 1e-3
        for i in range(NUM_SNIPPETS)
    ]


def stage_by_loops(
    stage: StageOutput, initial: Tensor, gt: list[Tensor], *, threshold: float
) -> dict[str, float]:
    """Return the terms of a stage with every weight 1, nothing sampled, and weighted balance."""
    tious, scores, offsets, starts, ends = [], [], [], [], []
    for video, segments in enumerate(gt):
        near = [
            [any(flags) for flags in zip(*map(boundary_by_loops, column), strict=True)]
            for column in segments.T.tolist()
        ]
        for i, (start, end) in enumerate(stage.proposals[video].tolist()):
            overlaps = [paired_tiou(initial[video, i], segment).item() for segment in segments]
            target = segments[overlaps.index(max(overlaps))]
            tiou = paired_tiou(stage.proposals[video, i], target).item()
            tious.append(tiou)
            scores.append(stage.tiou_logits[video, i].tolist())
            logits = stage.boundary_logits[video, i].tolist()
            for found, logit, flags, time in zip(
                (starts, ends), logits, near, (start, end), strict=True
            ):
                snippet = min(math.floor(time * NUM_SNIPPETS + 1e-6), NUM_SNIPPETS - 1)
                found.append((logit, flags[snippet]))
            if tiou > threshold:
                length, (gt_start, gt_end) = end - start, target.tolist()
                wanted = [(gt_start - start) / length, (gt_end - end) / length]
                wanted += [sum(wanted) / 2, math.log((gt_end - gt_start) / length)]
                predicted = stage.offsets[video, i].tolist()
                offsets.append(
                    sum(smooth_l1(p - w) for p, w in zip(predicted, wanted, strict=True))
                )
    errors = [
        (1 / (1 + math.exp(-score[1])) - tiou) ** 2
        for score, tiou in zip(scores, tious, strict=True)
    ]
    return {
        "tiou_classification": weighted_by_loops([s[0] for s in scores], [q > 0.9 for q in tious]),
        "tiou_regression": sum(errors) / len(errors),
        "offsets": sum(offsets) / len(offsets) if offsets else 0.0,
        "boundary": sum(
            weighted_by_loops(*map(list, zip(*found, strict=True))) for found in (starts, ends)
        ),
    }


@pytest.fixture
def cascade(generator: torch.Generator) -> list[Tensor]:
    """Return proposals that come closer to an instance from stage to stage."""
    first = random_proposals(2, 30, generator)
    first[:, 0] = torch.tensor([2, 7]) / NUM_SNIPPETS
    first[:, 1] = torch.tensor([4, 15]) / NUM_SNIPPETS
    return [first, (first + 0.003).clamp(max=1), (first + 0.005).clamp(max=1)]


GT_SEGMENTS = [
    torch.tensor([[2.2, 7.1], [4.1, 14.9]], dtype=torch.float64) / NUM_SNIPPETS,
    torch.tensor([[4.0, 15.0]], dtype=torch.float64) / NUM_SNIPPETS,
]


def test_the_parts_of_a_stage_against_loops(
    cascade: list[Tensor], generator: torch.Generator
) -> None:
    output = random_output(cascade, generator)
    weights = {"tiou_classification": 2.0, "offsets": 7.0, "boundary": 0.25}
    config = replace(
        CONFIG,
        balance="weighted",
        tiou_classification_weight=weights["tiou_classification"],
        offset_weight=weights["offsets"],
        proposal_boundary_weight=weights["boundary"],
    )
    found = detection_loss(output, GT_SEGMENTS, config=config, generator=generator)
    for i, (stage, threshold) in enumerate(zip(output.stages, config.tiou_thresholds, strict=True)):
        expected = stage_by_loops(stage, cascade[0], GT_SEGMENTS, threshold=threshold)
        assert expected["offsets"] > 0
        for name, weight in weights.items():
            part = found[f"stage{i + 1}/{name}"].item()
            assert part == pytest.approx(weight * expected[name], rel=1e-9), (i, name)


def test_tiou_regression_against_loops_where_nothing_is_sampled(
    generator: torch.Generator,
) -> None:
    # No tIoU above 0.7: every proposal counts.
    proposals = torch.tensor([[[0.0, 0.2], [0.1, 0.5], [0.5, 1.0]]], dtype=torch.float64)
    gt = [torch.tensor([[0.2, 0.6]], dtype=torch.float64)]
    output = random_output([proposals] * 3, generator)
    found = detection_loss(output, gt, config=CONFIG, generator=generator)
    for i, stage in enumerate(output.stages):
        expected = stage_by_loops(stage, proposals, gt, threshold=0.9)["tiou_regression"]
        assert found[f"stage{i + 1}/tiou_regression"].item() == pytest.approx(5 * expected)


def test_the_boundary_part_against_loops(cascade: list[Tensor], generator: torch.Generator) -> None:
    output = random_output(cascade, generator)
    found = detection_loss(output, GT_SEGMENTS, config=CONFIG, generator=generator)
    expected = 0.0
    for column, logits in enumerate((output.startness_logits, output.endness_logits)):
        flags = [
            flag
            for segments in GT_SEGMENTS
            for flag in map(
                any, zip(*map(boundary_by_loops, segments[:, column].tolist()), strict=True)
            )
        ]
        expected += weighted_by_loops(logits.flatten().tolist(), flags)
    assert found["boundary"].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_parts_add_up_to_the_total(
    preset: str, cascade: list[Tensor], generator: torch.Generator
) -> None:
    config = replace(PRESETS[preset], num_classes=4)
    output = random_output(cascade, generator, num_classes=4)
    labels = [torch.tensor([1, 3]), torch.tensor([0])]
    losses = detection_loss(
        output, GT_SEGMENTS, gt_labels=labels, config=config, generator=generator
    )
    stages = [losses[f"stage{i}"] for i in (1, 2, 3)]
    torch.testing.assert_close(sum(stages, losses["boundary"]), losses["total"].detach())
    for i, stage in enumerate(stages, start=1):
        parts = [value for name, value in losses.items() if name.startswith(f"stage{i}/")]
        assert len(parts) == (5 if i == 3 else 4)
        torch.testing.assert_close(torch.stack(parts).sum(), stage)
    attached = [name for name, value in losses.items() if value.requires_grad]
    assert attached == ["total"]


def test_the_assignment_of_the_first_stage_is_kept(generator: torch.Generator) -> None:
    # Closer to the first instance at first, exactly the second one after refinement.
    gt = [torch.tensor([[0.0, 0.5], [0.5, 1.0]], dtype=torch.float64)]
    first = torch.tensor([[[0.0, 0.6]]], dtype=torch.float64)
    output = random_output([first, gt[0][None, 1:], gt[0][None, 1:]], generator)
    losses = detection_loss(output, gt, config=CONFIG, generator=generator)
    assert losses["stage1/offsets"] > 0
    assert losses["stage2/offsets"] == losses["stage3/offsets"] == 0


def test_offset_thresholds_rise_from_stage_to_stage(generator: torch.Generator) -> None:
    gt = [torch.tensor([[0.0, 0.75]], dtype=torch.float64)]
    proposals = torch.tensor([[[0.0, 1.0]]], dtype=torch.float64)  # tIoU 0.75
    output = random_output([proposals] * 3, generator)
    losses = detection_loss(output, gt, config=CONFIG, generator=generator)
    assert [losses[f"stage{i}/offsets"].item() > 0 for i in (1, 2, 3)] == [True, False, False]


def test_perfect_offsets_cost_nothing(cascade: list[Tensor], generator: torch.Generator) -> None:
    output = random_output(cascade[:1] * 3, generator)
    target = GT_SEGMENTS[1]
    offsets = encode_offsets(cascade[0][1], target.expand(30, 2))
    stage = replace(output.stages[0], offsets=offsets[None], proposals=cascade[0][1:])
    perfect = DetectorOutput(
        output.startness_logits[1:],
        output.endness_logits[1:],
        tuple(
            replace(
                stage,
                tiou_logits=stage.tiou_logits[1:],
                boundary_logits=stage.boundary_logits[1:],
            )
            for _ in range(3)
        ),
    )
    losses = detection_loss(perfect, [target], config=CONFIG, generator=generator)
    assert losses["stage1/offsets"] == 0
    moved = tuple(replace(stage, offsets=stage.offsets + 0.1) for stage in perfect.stages)
    losses = detection_loss(
        replace(perfect, stages=moved), [target], config=CONFIG, generator=generator
    )
    assert losses["stage1/offsets"].item() == pytest.approx(10 * 4 * 0.5 * 0.1**2)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_without_any_instance_losses_and_gradients_are_finite(
    preset: str, cascade: list[Tensor], generator: torch.Generator
) -> None:
    config = replace(PRESETS[preset], num_classes=4)
    output = random_output(cascade, generator, num_classes=4)
    empty, no_labels = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
    losses = detection_loss(
        output, [empty, empty], gt_labels=[no_labels] * 2, config=config, generator=generator
    )
    for i in (1, 2, 3):
        assert losses[f"stage{i}/offsets"] == 0
    assert losses["stage3/class"] == 0
    losses["total"].backward()
    for stage in output.stages:
        for value in (stage.tiou_logits, stage.boundary_logits, stage.offsets, stage.class_logits):
            if value is not None:
                assert value.grad is not None
                assert value.grad.isfinite().all()


def test_a_video_without_instances_counts_as_negative(generator: torch.Generator) -> None:
    proposals = torch.tensor([[[0.25, 0.5]], [[0.25, 0.5]]], dtype=torch.float64)
    gt = [torch.tensor([[0.25, 0.5]], dtype=torch.float64), torch.zeros(0, 2)]
    output = random_output([proposals] * 3, generator)
    config = replace(CONFIG, balance="weighted")
    losses = detection_loss(output, gt, config=config, generator=generator)
    losses["total"].backward()
    gradient = output.stages[0].tiou_logits.grad
    assert gradient is not None
    assert gradient[0, 0, 0] < 0 < gradient[1, 0, 0]
    assert output.stages[0].offsets.grad is not None
    assert output.stages[0].offsets.grad[1].eq(0).all()


def test_classification_against_loops(generator: torch.Generator) -> None:
    logits = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 5), generator=generator)
    positive = torch.rand(2, 5, generator=generator) < 0.5
    losses = [
        -math.log(math.exp(row[label]) / sum(map(math.exp, row)))
        for row, label, member in zip(
            logits.view(-1, 3).tolist(),
            labels.flatten().tolist(),
            positive.flatten().tolist(),
            strict=True,
        )
        if member
    ]
    found = classification(logits, labels, positive=positive)
    assert found.item() == pytest.approx(sum(losses) / len(losses))


def test_only_proposals_above_the_class_threshold_are_classified(
    generator: torch.Generator,
) -> None:
    gt = [torch.tensor([[0.0, 0.5]], dtype=torch.float64)]
    proposals = torch.tensor([[[0.0, 0.6], [0.4, 1.0]]], dtype=torch.float64)
    output = random_output([proposals] * 3, generator, num_classes=2)
    config = replace(CONFIG, num_classes=2)
    losses = detection_loss(
        output, gt, gt_labels=[torch.tensor([1])], config=config, generator=generator
    )
    losses["total"].backward()
    logits = output.stages[2].class_logits
    assert logits is not None
    assert logits.grad is not None
    assert logits.grad[0, 0, 1] < 0 < logits.grad[0, 0, 0]
    assert logits.grad[0, 1].eq(0).all()


@pytest.mark.parametrize(
    ("option", "value", "parts"),
    [
        ("balance", "weighted", {"tiou_classification", "boundary"}),
        ("regress_zero_tiou", False, {"tiou_regression"}),
        ("tiou_positive_threshold", 0.5, {"tiou_classification"}),
        ("tiou_classification_weight", 9.0, {"tiou_classification"}),
        ("tiou_regression_weight", 9.0, {"tiou_regression"}),
        ("offset_weight", 9.0, {"offsets"}),
        ("proposal_boundary_weight", 9.0, {"boundary"}),
        ("tiou_thresholds", (0.2, 0.2, 0.2), {"offsets"}),
        ("boundary_region_snippets", 7.0, {"boundary"}),
        ("class_weight", 9.0, {"class"}),
        ("class_tiou_threshold", 0.1, {"class"}),
    ],
)
def test_each_option_changes_its_own_part_of_a_stage(
    option: str,
    value: object,
    parts: set[str],
    cascade: list[Tensor],
    generator: torch.Generator,
) -> None:
    output = random_output(cascade, generator, num_classes=3)

    def stage_parts(config: DetectorConfig) -> dict[str, Tensor]:
        losses = detection_loss(
            output,
            GT_SEGMENTS,
            gt_labels=[torch.tensor([0, 1]), torch.tensor([2])],
            config=config,
            generator=torch.Generator().manual_seed(0),
        )
        return {name: part for name, part in losses.items() if name.startswith("stage3/")}

    before, after = stage_parts(CONFIG), stage_parts(replace(CONFIG, **{option: value}))
    changed = {name.removeprefix("stage3/") for name in before if before[name] != after[name]}
    # The draws that follow another number of draws are others.
    if option == "balance":
        changed.discard("tiou_regression")
    assert changed == parts


def test_the_region_of_boundaries_reaches_the_boundary_part(
    cascade: list[Tensor], generator: torch.Generator
) -> None:
    output = random_output(cascade, generator)
    wide = replace(CONFIG, boundary_region_snippets=7.0)
    found = [
        detection_loss(output, GT_SEGMENTS, config=config, generator=generator)["boundary"]
        for config in (CONFIG, wide)
    ]
    assert found[0] != found[1]


def test_offset_regression_changes_its_slope_at_one() -> None:
    offsets = torch.tensor([[0.5, -3.0, 0.0, 0.0], [9.0, 9.0, 9.0, 9.0]])
    positive = torch.tensor([True, False])
    loss = offset_regression(offsets, torch.zeros(2, 4), positive=positive)
    assert loss.item() == 0.125 + 2.5


def test_labels_are_not_needed_by_a_class_agnostic_detector(
    cascade: list[Tensor], generator: torch.Generator
) -> None:
    output = random_output(cascade, generator)
    losses = detection_loss(output, GT_SEGMENTS, config=CONFIG, generator=generator)
    assert "stage3/class" not in losses


def test_same_generator_same_loss(cascade: list[Tensor], generator: torch.Generator) -> None:
    output = random_output(cascade, generator)
    totals = [
        detection_loss(
            output, GT_SEGMENTS, config=CONFIG, generator=torch.Generator().manual_seed(seed)
        )["total"].item()
        for seed in (1, 1, 2)
    ]
    assert totals[0] == totals[1] != totals[2]


def test_ground_truth_of_another_batch_is_refused(
    cascade: list[Tensor], generator: torch.Generator
) -> None:
    output = random_output(cascade, generator)
    with pytest.raises(ValueError, match=r"gt_segments=...\): expected one tensor per video, 2"):
        detection_loss(output, GT_SEGMENTS[:1], config=CONFIG)


def test_a_detector_that_classifies_asks_for_labels(
    cascade: list[Tensor], generator: torch.Generator
) -> None:
    output = random_output(cascade, generator, num_classes=2)
    with pytest.raises(ValueError, match="this detector classifies"):
        detection_loss(output, GT_SEGMENTS, config=DetectorConfig(num_classes=2))
