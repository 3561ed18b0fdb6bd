from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from examples.etad.detectors.etad.config import DetectorConfig
from examples.etad.detectors.etad.proposal_evaluation import ProposalEvaluation

CONFIG = DetectorConfig(
    hidden_channels=16, lstm_channels=8, norm_groups=2, roi_channels=4, roi_bins=8, boundary_bins=2,
    roi_aligned=True, trunk_size=16, head_size=8,
)  # fmt: skip
NUM_SNIPPETS = 32


def build(config: DetectorConfig, *, num_classes: int = 0) -> ProposalEvaluation:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ProposalEvaluation(config, num_classes=num_classes).double()


def snippets_seen(stage: ProposalEvaluation, output: str, column: int) -> list[int]:
    """Return the snippets that one output for the proposal of snippets 8 to 16 depends on."""
    generator = torch.Generator().manual_seed(0)
    sequence = torch.rand(1, 4, NUM_SNIPPETS, generator=generator, dtype=torch.float64)
    proposals = torch.tensor([[[8, 16]]], dtype=torch.float64) / NUM_SNIPPETS
    value = getattr(stage(sequence.requires_grad_(), proposals), output)[0, 0, column]
    (gradient,) = torch.autograd.grad(value, sequence)
    return [int(i) for i in gradient[0].abs().sum(dim=0).nonzero().flatten()]


def test_the_proposal_is_seen_with_half_its_length_on_either_side() -> None:
    assert snippets_seen(build(CONFIG), "tiou_logits", 0) == list(range(4, 20))


def test_the_context_ratio_widens_what_is_seen() -> None:
    stage = build(replace(CONFIG, context_ratio=1.0))
    assert snippets_seen(stage, "boundary_logits", 1) == list(range(24))


def test_start_and_end_offsets_only_see_the_context_outside_the_proposal() -> None:
    stage = build(CONFIG)
    assert snippets_seen(stage, "offsets", 0) == [4, 5, 6, 7]
    assert snippets_seen(stage, "offsets", 1) == [16, 17, 18, 19]
    assert snippets_seen(stage, "offsets", 2) == list(range(4, 20))


@pytest.mark.parametrize("column", range(4))
def test_joint_offsets_see_the_whole_proposal(column: int) -> None:
    stage = build(replace(CONFIG, start_end_heads="joint"))
    assert snippets_seen(stage, "offsets", column) == list(range(4, 20))


def test_the_released_flavour_looks_half_a_snippet_to_the_right() -> None:
    stage = build(replace(CONFIG, roi_aligned=False))
    assert snippets_seen(stage, "tiou_logits", 0) == list(range(4, 21))


def evaluate(config: DetectorConfig, generator: torch.Generator) -> Tensor:
    sequence = torch.rand(1, 4, NUM_SNIPPETS, generator=generator, dtype=torch.float64)
    proposals = torch.tensor([[[0.25, 0.5], [0.1, 0.9]]], dtype=torch.float64)
    return build(config)(sequence, proposals).offsets


@pytest.mark.parametrize("start_end_heads", ["own", "joint"])
def test_only_centre_and_width_are_divided(
    start_end_heads: str, generator: torch.Generator
) -> None:
    config = replace(CONFIG, start_end_heads=start_end_heads)
    state = generator.get_state()
    once = evaluate(replace(config, centre_width_divisor=1.0), generator)
    generator.set_state(state)
    halved = evaluate(replace(config, centre_width_divisor=2.0), generator)
    torch.testing.assert_close(halved * torch.tensor([1, 1, 2, 2]), once, rtol=1e-12, atol=1e-15)


def answer(head: nn.Sequential, *values: float) -> None:
    """Make a head give these values whatever it sees."""
    nn.init.zeros_(head[-1].weight)
    head[-1].bias.data.copy_(torch.tensor(values))


def test_offsets_come_in_the_order_start_end_centre_width(generator: torch.Generator) -> None:
    sequence = torch.rand(1, 4, NUM_SNIPPETS, generator=generator, dtype=torch.float64)
    proposals = torch.tensor([[[0.2, 0.4]]], dtype=torch.float64)
    own, joint = build(CONFIG), build(replace(CONFIG, start_end_heads="joint"))
    answer(own.start_head, 1)
    answer(own.end_head, 2)
    answer(own.offset_head, 3 * 2, 4 * 2)
    answer(joint.offset_head, 1, 2, 3 * 2, 4 * 2)
    for stage in (own, joint):
        assert stage(sequence, proposals).offsets.tolist() == [[[1, 2, 3, 4]]]


@pytest.mark.parametrize("trunk", ["shared", "own"])
def test_the_first_layer_sees_the_bins_of_one_channel_after_the_other(trunk: str) -> None:
    stage = build(replace(CONFIG, trunk=trunk))
    sequence = torch.arange(4.0).double().view(1, 4, 1).repeat(1, 1, NUM_SNIPPETS)
    seen: list[Tensor] = []
    first = stage.trunk[0] if trunk == "shared" else stage.tiou_head[0]
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    stage(sequence, torch.tensor([[[0.4, 0.5]]], dtype=torch.float64))
    assert seen[0].flatten().tolist() == pytest.approx(
        [0.0] * 8 + [1.0] * 8 + [2.0] * 8 + [3.0] * 8
    )


def test_own_trunks_share_no_layer_between_heads() -> None:
    shared, own = build(CONFIG), build(replace(CONFIG, trunk="own"))
    assert [p.shape for p in shared.trunk.parameters()] == [(16, 32), (16,)]
    assert not list(own.trunk.parameters())
    heads = (own.tiou_head, own.boundary_head, own.offset_head)
    assert all(head[0].in_features == 32 for head in heads)
    assert all(head[0].in_features == 16 for head in (shared.tiou_head, shared.offset_head))


def test_the_residual_convolution_is_optional(generator: torch.Generator) -> None:
    features = torch.randn(1, 16, NUM_SNIPPETS, generator=generator, dtype=torch.float64)
    with_residual, without = (
        build(CONFIG).sequence,
        build(replace(CONFIG, stage_conv=False)).sequence,
    )
    assert without.residual is None
    without.load_state_dict(
        {k: v for k, v in with_residual.state_dict().items() if not k.startswith("residual")}
    )
    moved = features + with_residual.residual(features)
    torch.testing.assert_close(with_residual(features), without(moved))
    assert not torch.allclose(with_residual(features), without(features))


def test_refined_proposals_carry_no_gradient(generator: torch.Generator) -> None:
    stage = build(CONFIG)
    sequence = torch.rand(1, 4, NUM_SNIPPETS, generator=generator, dtype=torch.float64)
    output = stage(sequence, torch.tensor([[[0.2, 0.4]]], dtype=torch.float64))
    assert output.offsets.requires_grad
    assert not output.refined.requires_grad


def test_classes_are_scored_only_if_there_are_any(generator: torch.Generator) -> None:
    sequence = torch.rand(1, 4, NUM_SNIPPETS, generator=generator, dtype=torch.float64)
    proposals = torch.tensor([[[0.2, 0.4]]], dtype=torch.float64)
    assert build(CONFIG)(sequence, proposals).class_logits is None
    logits = build(CONFIG, num_classes=5)(sequence, proposals).class_logits
    assert logits is not None
    assert logits.shape == (1, 1, 5)
