import torch

from examples.etad.detectors.etad.output import DetectorOutput, StageOutput, concatenate


def stage_of(proposals: int, generator: torch.Generator, *, classes: int | None) -> StageOutput:
    def draw(columns: int) -> torch.Tensor:
        return torch.randn(2, proposals, columns, generator=generator)

    return StageOutput(
        proposals=draw(2),
        refined=draw(2),
        tiou_logits=draw(2),
        boundary_logits=draw(2),
        offsets=draw(4),
        class_logits=None if classes is None else draw(classes),
    )


def test_concatenation_joins_every_field_along_the_proposals(generator: torch.Generator) -> None:
    parts = tuple(stage_of(count, generator, classes=3) for count in (4, 1, 2))
    joined = concatenate(parts)
    for name, value in vars(joined).items():
        assert value.split([4, 1, 2], dim=1)[1].equal(getattr(parts[1], name)), name
        assert value.shape[1] == 7, name


def test_concatenation_without_classes_has_none(generator: torch.Generator) -> None:
    parts = tuple(stage_of(2, generator, classes=None) for _ in range(2))
    assert concatenate(parts).class_logits is None


def test_probabilities_are_single_precision_and_do_not_saturate_in_half_precision() -> None:
    logits = torch.full((1, 1, 2), 9.0, dtype=torch.float16)
    assert logits.sigmoid().max() == 1  # the trap
    stage = StageOutput(logits, logits, logits, logits, logits, logits)
    output = DetectorOutput(logits[..., 0], logits[..., 1], (stage,))
    for value in (output.startness, output.endness, stage.tiou, stage.boundary):
        assert value.dtype == torch.float32
        assert 0.999 < value.max() < 1
    assert stage.class_probabilities is not None
    assert stage.class_probabilities.sum(dim=-1).item() == 1


def test_no_class_logits_give_no_class_probabilities(generator: torch.Generator) -> None:
    assert stage_of(1, generator, classes=None).class_probabilities is None
