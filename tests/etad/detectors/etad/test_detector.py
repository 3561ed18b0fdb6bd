from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from examples.etad.detectors.etad.config import PRESETS, DetectorConfig
from examples.etad.detectors.etad.detector import Detector
from examples.etad.detectors.etad.losses import detection_loss
from examples.etad.detectors.etad.output import DetectorOutput

NARROW = replace(
    PRESETS["official"], hidden_channels=32, lstm_channels=16, norm_groups=4, roi_channels=8,
    roi_bins=8, boundary_bins=2, trunk_size=32, head_size=16, num_classes=3,
)  # fmt: skip
VARIANTS = {
    "official": NARROW,
    "paper": replace(NARROW, trunk="own", stage_conv=False, roi_aligned=True, balance="weighted"),
    "joint": replace(NARROW, start_end_heads="joint"),
    "one stage, no classes": replace(NARROW, tiou_thresholds=(0.5,), num_classes=0),
}


def build(config: DetectorConfig, *, in_channels: int) -> Detector:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Detector(config, in_channels=in_channels)


def random_proposals(batch: int, count: int, generator: torch.Generator) -> Tensor:
    start = torch.rand(batch, count, 1, generator=generator) * 0.9
    end = start + 0.02 + torch.rand(batch, count, 1, generator=generator) * (0.98 - start)
    return torch.cat([start, end.clamp(max=1)], dim=-1)


def outputs_of(output: DetectorOutput) -> dict[str, Tensor]:
    tensors = {"startness": output.startness_logits, "endness": output.endness_logits}
    for i, stage in enumerate(output.stages):
        named = {f"{i}.{name}": value for name, value in vars(stage).items()}
        tensors |= {name: value for name, value in named.items() if value is not None}
    return tensors


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def official() -> Detector:
    return build(PRESETS["official"], in_channels=512)


def test_official_parameter_counts(official: Detector) -> None:
    assert len(official.state_dict()) == 177
    assert count_parameters(official) == 10_343_450
    assert count_parameters(official.enhancement) == 1_284_096
    assert count_parameters(official.boundary) == 49_922
    assert len(official.stages) == 3
    for stage in official.stages:
        assert count_parameters(stage.sequence.residual) == 49_408
        assert count_parameters(stage) == 49_408 + 2_953_736


def test_every_convolution_and_linear_layer_starts_xavier_uniform(official: Detector) -> None:
    grouped = official.stages[0].sequence.residual[0].weight
    # PyTorch counts the inputs of one group but the outputs of all of them.
    assert grouped.abs().max() <= (6 / (64 * 3 + 256 * 3)) ** 0.5
    layers = [m for m in official.modules() if isinstance(m, nn.Conv1d | nn.Linear)]
    for layer in layers:
        taps = layer.weight[0, 0].numel()
        bound = (6 / (layer.weight.shape[1] * taps + layer.weight.shape[0] * taps)) ** 0.5
        assert 0.9 * bound < layer.weight.abs().max() <= bound
        assert layer.bias is None or layer.bias.eq(0).all()


def test_lstm_keeps_its_default_initialisation(official: Detector) -> None:
    for parameter in official.enhancement.lstm.parameters():
        assert 0.99 / 16 < parameter.abs().max() <= 1 / 16


def test_stages_start_from_different_weights(official: Detector) -> None:
    first, second, third = (stage.trunk[0].weight for stage in official.stages)
    assert not first.equal(second)
    assert not second.equal(third)


def test_random_weights_give_losses_of_the_known_magnitude(
    official: Detector, generator: torch.Generator
) -> None:
    features = torch.rand(2, 64, 512, generator=generator)
    start = torch.randint(0, 63, (2, 200), generator=generator)
    length = (torch.rand(2, 200, generator=generator) * (64 - start)).long() + 1
    proposals = torch.stack([start, start + length], dim=-1) / 64
    gt_segments = [torch.tensor([[0.1, 0.3], [0.5, 0.9]]), torch.tensor([[0.0, 1.0]])]
    losses = detection_loss(
        official(features, proposals), gt_segments, config=official.config, generator=generator
    )
    assert 1.3 < losses["boundary"] < 1.7
    for stage in ("stage1", "stage2", "stage3"):
        assert 1.5 < losses[stage] < 6


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_run(name: str, generator: torch.Generator) -> None:
    detector = build(PRESETS[name], in_channels=16)
    output = detector(torch.rand(1, 8, 16, generator=generator), random_proposals(1, 4, generator))
    shapes = {field: tuple(value.shape) for field, value in outputs_of(output).items()}
    assert shapes["startness"] == shapes["endness"] == (1, 8)
    for i in range(3):
        assert shapes[f"{i}.refined"] == shapes[f"{i}.tiou_logits"] == (1, 4, 2)
        assert shapes[f"{i}.offsets"] == (1, 4, 4)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_each_stage_is_given_what_the_one_before_refined(
    name: str, generator: torch.Generator
) -> None:
    detector = build(VARIANTS[name], in_channels=12)
    proposals = random_proposals(2, 5, generator)
    output = detector(torch.randn(2, 16, 12, generator=generator), proposals)
    assert len(output.stages) == len(VARIANTS[name].tiou_thresholds)
    assert output.stages[0].proposals.equal(proposals)
    for before, after in zip(output.stages, output.stages[1:], strict=False):
        assert after.proposals.equal(before.refined)
        assert not before.refined.equal(before.proposals)
        assert before.class_logits is None


@pytest.mark.parametrize("name", list(VARIANTS))
def test_videos_do_not_depend_on_each_other(name: str, generator: torch.Generator) -> None:
    detector = build(VARIANTS[name], in_channels=12).double()
    features = torch.randn(3, 16, 12, generator=generator, dtype=torch.float64)
    proposals = random_proposals(3, 5, generator).double()
    together = outputs_of(detector(features, proposals))
    alone = outputs_of(detector(features[1:2], proposals[1:2]))
    for field, value in together.items():
        torch.testing.assert_close(value[1:2], alone[field], rtol=1e-10, atol=1e-12, msg=field)


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
def test_chunks_of_proposals_change_no_result(chunk_size: int, generator: torch.Generator) -> None:
    detector = build(NARROW, in_channels=12).double()
    features = torch.randn(2, 16, 12, generator=generator, dtype=torch.float64)
    proposals = random_proposals(2, 7, generator).double()
    whole = outputs_of(detector(features, proposals))
    chunked = outputs_of(detector(features, proposals, proposal_chunk_size=chunk_size))
    assert whole.keys() == chunked.keys()
    for field, value in whole.items():
        torch.testing.assert_close(chunked[field], value, rtol=1e-10, atol=1e-12, msg=field)


def test_no_stage_sees_more_proposals_at_a_time_than_a_chunk(generator: torch.Generator) -> None:
    detector = build(NARROW, in_channels=12)
    seen = []
    for stage in detector.stages:
        stage.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].shape[1]))
    detector(
        torch.randn(1, 16, 12, generator=generator),
        random_proposals(1, 7, generator),
        proposal_chunk_size=3,
    )
    assert seen == [3, 3, 3, 3, 3, 3, 1, 1, 1]


@pytest.mark.parametrize("name", list(VARIANTS))
@pytest.mark.parametrize("gt", [[[0.1, 0.4], [0.5, 0.9]], []], ids=["actions", "no actions"])
def test_gradient_reaches_every_parameter_and_the_features(
    name: str, gt: list[list[float]], generator: torch.Generator
) -> None:
    config = VARIANTS[name]
    detector = build(config, in_channels=12)
    features = torch.randn(2, 16, 12, generator=generator, requires_grad=True)
    proposals = random_proposals(2, 40, generator)
    proposals[:, 0] = torch.tensor([0.1, 0.4])
    segments = [torch.tensor(gt).view(-1, 2)] * 2
    labels = [torch.arange(len(gt))] * 2
    losses = detection_loss(
        detector(features, proposals),
        segments,
        gt_labels=labels,
        config=config,
        generator=generator,
    )
    losses["total"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    assert features.grad is not None
    assert features.grad.abs().sum(dim=(0, 2)).gt(0).all()
    if gt:
        first_stage = dict(detector.stages[0].named_parameters())
        assert all(p.grad.abs().sum() > 0 for p in first_stage.values())


def test_a_detector_learns_to_tell_a_video_apart(generator: torch.Generator) -> None:
    config = replace(NARROW, num_classes=2)
    detector = build(config, in_channels=8)
    features = torch.randn(2, 16, 8, generator=generator)
    gt_segments = [torch.tensor([[0.25, 0.5]]), torch.tensor([[0.5, 1.0]])]
    gt_labels = [torch.tensor([0]), torch.tensor([1])]
    features[0, 4:8] += 2
    features[1, 8:] -= 2
    proposals = random_proposals(2, 60, generator)
    optimizer = torch.optim.Adam(detector.parameters(), lr=3e-3)
    history = []
    for _ in range(60):
        output = detector(features, proposals)
        losses = detection_loss(
            output, gt_segments, gt_labels=gt_labels, config=config, generator=generator
        )
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        history.append(losses["total"].item())
    assert sum(history[-5:]) < 0.5 * sum(history[:5])
    last = output.stages[-1]
    best = last.tiou.prod(dim=-1).argmax(dim=1)
    assert last.class_probabilities is not None
    for video, segments in enumerate(gt_segments):
        torch.testing.assert_close(last.refined[video, best[video]], segments[0], atol=0.1, rtol=0)
        assert last.class_probabilities[video, best[video]].argmax() == video


def test_a_video_of_one_snippet_is_evaluated() -> None:
    output = build(NARROW, in_channels=12)(torch.ones(1, 1, 12), torch.tensor([[[0.0, 1.0]]]))
    assert all(value.isfinite().all() for value in outputs_of(output).values())


def test_proposals_stay_in_single_precision_under_autocast(generator: torch.Generator) -> None:
    detector = build(NARROW, in_channels=12)
    features = torch.randn(2, 16, 12, generator=generator)
    proposals = random_proposals(2, 9, generator)
    gt_segments, gt_labels = [torch.tensor([[0.1, 0.5]])] * 2, [torch.tensor([1])] * 2
    with torch.autocast("cpu", torch.bfloat16):
        output = detector(features, proposals)
        losses = detection_loss(
            output, gt_segments, gt_labels=gt_labels, config=NARROW, generator=generator
        )
    assert output.stages[0].tiou_logits.dtype == torch.bfloat16
    assert all(stage.refined.dtype == torch.float32 for stage in output.stages)
    assert all(value.dtype == torch.float32 for value in losses.values())


@pytest.mark.parametrize(
    ("features", "proposals", "message"),
    [
        ((2, 12, 16), (2, 5, 2), r"features=...\): expected shape \(batch, snippets, 12\), got"),
        ((16, 12), (2, 5, 2), r"features=...\): expected shape .* got \(16, 12\)"),
        ((2, 0, 12), (2, 5, 2), r"features=...\): expected shape .* got \(2, 0, 12\)"),
        ((2, 16, 12), (5, 2), r"proposals=...\): expected shape \(2, proposals, 2\) .*\(5, 2\)"),
        ((2, 16, 12), (1, 5, 2), r"proposals=...\): expected shape \(2, proposals, 2\)"),
        ((2, 16, 12), (2, 0, 2), r"proposals=...\): expected .* at least one proposal"),
        ((2, 16, 12), (2, 5, 3), r"proposals=...\): expected shape \(2, proposals, 2\)"),
    ],
)
def test_wrong_shapes_are_refused(
    features: tuple[int, ...], proposals: tuple[int, ...], message: str
) -> None:
    detector = build(NARROW, in_channels=12)
    with pytest.raises(ValueError, match=message):
        detector(torch.zeros(features), torch.zeros(proposals))


@pytest.mark.parametrize("proposal", [[3.0, 9.0], [-0.1, 0.5], [0.5, 0.5], [0.5, 0.4]])
def test_proposals_that_are_not_normalised_are_refused(proposal: list[float]) -> None:
    detector = build(NARROW, in_channels=12)
    with pytest.raises(ValueError, match="expected 0 <= start < end <= 1, got starts from"):
        detector(torch.zeros(1, 16, 12), torch.tensor([[proposal]]))


def test_a_proposal_chunk_of_nothing_is_refused() -> None:
    detector = build(NARROW, in_channels=12)
    with pytest.raises(ValueError, match=r"proposal_chunk_size=0\): expected at least 1"):
        detector(torch.zeros(1, 16, 12), torch.tensor([[[0.0, 1.0]]]), proposal_chunk_size=0)


@pytest.mark.parametrize("in_channels", [0, 6])
def test_channels_that_do_not_fit_the_groups_are_refused(in_channels: int) -> None:
    with pytest.raises(ValueError, match="expected a positive multiple of conv_groups=4"):
        Detector(NARROW, in_channels=in_channels)
