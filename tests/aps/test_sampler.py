from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from aps import ProposalSampler, dense_proposals, pairwise_tiou, proposal_map
from samplers import (
    DPP,
    AbstractSampler,
    Block,
    Candidates,
    FarthestPoint,
    Grid,
    IoUBalanced,
    KernelDPP,
    Random,
    ScaleBalanced,
)
from tests.samplers.other_device import ELSEWHERE, Elsewhere, OtherDevice

STRATEGIES = [
    Random(),
    Grid(),
    Block(),
    FarthestPoint(),
    DPP(),
    IoUBalanced(),
    ScaleBalanced(),
]
NUM_SNIPPETS = 32
GT_SEGMENTS = [torch.tensor([[0.1, 0.4], [0.5, 0.9]]), torch.zeros(0, 2)]


def sampler(strategy: AbstractSampler | None = None, **options: Any) -> ProposalSampler:
    options = {"num_snippets": NUM_SNIPPETS} | options
    return ProposalSampler(
        strategy, generator=torch.Generator().manual_seed(0), **{"ratio": 0.06} | options
    )


def features() -> torch.Tensor:
    return torch.randn(2, NUM_SNIPPETS, 8, generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class Listening(AbstractSampler):
    """The first items; keeps what it is told of them."""

    requires: ClassVar[frozenset[str]] = frozenset({"features", "tiou", "scale"})
    has_inclusion_probability = False

    heard: list[Candidates] = field(default_factory=list)

    def _sample(self, candidates: Candidates, count: int, generator: torch.Generator) -> Tensor:
        self.heard.append(candidates)
        return torch.arange(count)

    def _inclusion_probability(self, candidates: Candidates, count: int) -> Tensor:
        raise ValueError("It has none.")


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_every_strategy_keeps_the_same_number_for_every_video(strategy: AbstractSampler) -> None:
    index = sampler(strategy)(2, gt_segments=GT_SEGMENTS, features=features())
    assert index.shape == (2, 32)
    assert index.dtype == torch.int64
    assert bool((index.diff(dim=1) > 0).all())
    assert index.max() < 528


def test_six_percent_of_8256_proposals_are_495() -> None:
    assert sampler(num_snippets=128)(3).shape == (3, 495)


def test_strategy_hears_all_that_is_known_of_the_proposals_of_each_video() -> None:
    strategy = Listening()
    proposals = sampler(strategy)
    gt_segments = [segments.double() for segments in GT_SEGMENTS]
    proposals(2, gt_segments=gt_segments, features=features().requires_grad_())
    dense = dense_proposals(NUM_SNIPPETS)
    best = pairwise_tiou(dense, GT_SEGMENTS[0]).amax(dim=1)
    for video, tiou in enumerate([best, torch.zeros(528)]):
        heard = strategy.heard[video]
        assert torch.equal(heard.valid, proposal_map(NUM_SNIPPETS))
        torch.testing.assert_close(heard.scale, dense[:, 1] - dense[:, 0])
        torch.testing.assert_close(heard.tiou, tiou)
        torch.testing.assert_close(heard.features, proposals._mean_features(features()[video]))
        # Nothing of the features' graph is kept, and nothing is back-propagated to them.
        assert not heard.features.requires_grad


def test_given_generator_is_the_only_source_of_randomness() -> None:
    before = torch.get_rng_state()
    drawn = sampler()(2)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(drawn, sampler()(2))


def test_longest_proposals_can_be_limited() -> None:
    proposals = sampler(max_duration=5).proposals
    assert torch.equal(proposals, dense_proposals(NUM_SNIPPETS, 5))


def test_videos_are_sampled_on_their_own() -> None:
    first, second = sampler()(2)
    assert not torch.equal(first, second)


def test_every_call_draws_anew() -> None:
    proposals = sampler()
    assert not torch.equal(proposals(1), proposals(1))


def test_evaluation_returns_everything() -> None:
    index = sampler().eval()(2)
    assert torch.equal(index, torch.arange(528).expand(2, -1))


def test_training_with_ratio_1_returns_everything() -> None:
    assert torch.equal(sampler(IoUBalanced(), ratio=1.0)(2), torch.arange(528).expand(2, -1))


def test_evaluation_on_a_grid_is_fixed() -> None:
    proposals = sampler(evaluation_ratio=0.2).eval()
    first, second = proposals(1), proposals(2)
    assert first.shape == (1, 106)
    assert torch.equal(first.expand(2, -1), second)
    lattice = Candidates(num_items=528, valid=proposal_map(NUM_SNIPPETS))
    assert torch.equal(first[0], Grid(random_phase=False).sample(lattice, 106))
    line = Grid(random_phase=False).sample(Candidates(num_items=528), 106)
    assert not torch.equal(first[0], line)


def test_balanced_strategy_sees_the_ground_truth_of_each_video() -> None:
    """A third of the proposals is drawn from each tIoU bin; without ground truth all have 0."""
    proposals = sampler(IoUBalanced())
    drawn = proposals.proposals[proposals(2, gt_segments=GT_SEGMENTS)[0]]
    best = pairwise_tiou(drawn, GT_SEGMENTS[0]).amax(dim=1)
    counts = [int(((best >= low) & (best < high)).sum()) for low, high in ((0, 0.3), (0.3, 0.7))]
    assert sorted([*counts, 32 - sum(counts)]) == [10, 11, 11]


def test_proposal_feature_is_the_mean_of_its_snippets() -> None:
    means = sampler()._mean_features(features()[0])
    for position in (0, 31, 40, 300, 527):
        start, end = (dense_proposals(NUM_SNIPPETS)[position] * NUM_SNIPPETS).round().long()
        torch.testing.assert_close(means[position], features()[0, start:end].mean(dim=0))


def test_feature_of_a_single_snippet_is_exact_however_many_went_before() -> None:
    snippets = 1000 + features().reshape(1, -1, 1)
    proposals = sampler(num_snippets=snippets.shape[1], max_duration=1)
    assert torch.equal(proposals._mean_features(snippets[0]), snippets[0])
    rounded = snippets[0].cumsum(dim=0).diff(dim=0)
    assert not torch.equal(rounded, snippets[0][1:])


def test_proposals_are_no_part_of_a_checkpoint() -> None:
    assert sampler().state_dict() == {}


def test_index_selects_normalised_proposals_inside_the_video() -> None:
    proposals = sampler()
    chosen = proposals.proposals[proposals(4)]
    assert chosen.shape == (4, 32, 2)
    assert bool((chosen[..., 1] > chosen[..., 0]).all())
    assert chosen.min() >= 0
    assert chosen.max() <= 1


ERRORS = [
    (
        {"strategy": KernelDPP()},
        ValueError,
        r"requires \['kernel'\], which proposals do not have",
    ),
    ({"strategy": "random"}, TypeError, r"sampler='random'\): expected a strategy object"),
    ({"ratio": 0.0}, ValueError, r"ratio=0.0\): expected a value in \(0, 1\]"),
    ({"evaluation_ratio": 2.0}, ValueError, r"evaluation_ratio=2.0\): expected a value"),
    ({"num_snippets": 0}, ValueError, r"num_snippets=0\): expected an integer of at least 1"),
    ({"max_duration": 33}, ValueError, r"max_duration=33\): expected a number of snippets in \[1"),
]


@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize(("options", "error", "message"), ERRORS, ids=str)
def test_bad_argument_is_refused_when_built(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sampler(**options)


def test_missing_ground_truth_is_refused() -> None:
    with pytest.raises(ValueError, match=r"requires `tiou`\. Pass gt_segments=\.\.\., or use"):
        sampler(IoUBalanced())(2)


def test_missing_features_are_refused() -> None:
    with pytest.raises(ValueError, match=r"requires `features`\. Pass features=\.\.\., or use"):
        sampler(DPP())(2)


@pytest.mark.parametrize(
    "segment",
    [(12.0, 48.0), (0.4, 0.1), (-0.1, 0.5), (0.5, 1.001), (float("nan"), 0.5), (0.1, float("nan"))],
)
def test_ground_truth_that_is_not_normalised_is_refused(segment: tuple[float, float]) -> None:
    gt_segments = [torch.zeros(0, 2), torch.tensor([(0.1, 0.4), segment])]
    with pytest.raises(ValueError, match=r"expected 0 <= start <= end <= 1.* in video 1\. Divide"):
        sampler(IoUBalanced())(2, gt_segments=gt_segments)


def test_ground_truth_may_leave_the_video_by_rounding() -> None:
    at_most = torch.tensor([[-1e-5, 1 + 1e-5]], dtype=torch.float64)
    gt_segments = [at_most, torch.tensor([[0.0, 0.0], [1.0, 1.0]])]
    assert sampler(IoUBalanced())(2, gt_segments=gt_segments).shape == (2, 32)


@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize(
    ("segments", "got"),
    [
        ([[0.1, 0.4]], "list"),
        (None, "NoneType"),
        (torch.zeros(2), r"\[2\]"),
        (torch.zeros(1, 3), r"\[1, 3\]"),
    ],
    ids=str,
)
def test_ground_truth_of_another_shape_is_refused(segments: Any, got: str) -> None:
    with pytest.raises(
        ValueError, match=rf"\[instances, 2\] for each video, got {got} for video 1"
    ):
        sampler(IoUBalanced())(2, gt_segments=[torch.zeros(0), segments])


@pytest.mark.parametrize("strategy", [Random(), ScaleBalanced()], ids=repr)
def test_what_the_strategy_does_not_look_at_costs_nothing(
    strategy: AbstractSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposals = sampler(strategy)
    expected = sampler(strategy)(2)
    monkeypatch.setattr("aps.sampler.pairwise_tiou", None)
    monkeypatch.setattr(proposals, "_mean_features", None)
    drawn = proposals(2, gt_segments=GT_SEGMENTS, features=features())
    assert torch.equal(drawn, expected)


@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize(
    ("wrong", "got"), [(torch.zeros(2, 3), "Tensor"), (2.0, "float"), (-1, "-1")]
)
def test_what_is_no_number_of_videos_is_refused(wrong: Any, got: str) -> None:
    with pytest.raises(
        ValueError, match=rf"batch_size=...\): expected the number of v.*got {got}\."
    ):
        sampler()(wrong)


@pytest.mark.parametrize("training", [True, False])
def test_index_of_each_video_has_memory_of_its_own(training: bool) -> None:
    for proposals in (sampler(ratio=1.0), sampler(evaluation_ratio=0.2)):
        index = proposals.train(training)(2)
        expected = index[1].clone()
        index[0] = 0
        assert torch.equal(index[1], expected)


def test_module_made_without_memory_gets_its_map_with_it() -> None:
    with torch.device("meta"):
        proposals = ProposalSampler(num_snippets=NUM_SNIPPETS, max_duration=5)
    assert proposals.valid.device.type == "meta"
    proposals.to_empty(device="cpu")
    assert torch.equal(proposals.proposals, dense_proposals(NUM_SNIPPETS, 5))
    assert proposals(2).shape == sampler(max_duration=5)(2).shape


def test_another_number_of_videos_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"gt_segments=...\): expected one entry for each of the 3"
    ):
        sampler()(3, gt_segments=GT_SEGMENTS)


def test_features_of_another_number_of_videos_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features=...\): expected one entry for each of the 3"):
        sampler(DPP())(3, features=features())


def test_another_number_of_snippets_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected shape \[2, 32, channels\]"):
        sampler(DPP())(2, features=features()[:, :5])


def test_features_without_channels_are_refused(raw_errors: None) -> None:
    with pytest.raises(ValueError, match=r"expected shape \[2, 32, channels\].* got \[2, 32\]"):
        sampler(DPP())(2, features=features()[..., 0])
    with pytest.raises(ValueError, match=r"expected shape \[2, 32, channels\].* got list"):
        sampler(DPP())(2, features=list(features()))


def test_seed_in_place_of_a_generator_is_refused(raw_errors: None) -> None:
    with pytest.raises(TypeError, match=r"generator=3\): expected a torch.Generator or None"):
        ProposalSampler(num_snippets=8, generator=3)


@pytest.mark.parametrize("training", [True, False])
def test_no_videos_give_no_index(training: bool) -> None:
    assert sampler().train(training)(0).shape == (0, 32 if training else 528)


def test_half_precision_does_not_reach_the_proposals() -> None:
    proposals = ProposalSampler(num_snippets=1000, max_duration=1).bfloat16().proposals
    assert len(proposals[:, 0].unique()) == 1000


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("ratio", [0.06, 1.0])
def test_index_lies_on_the_device_of_the_module(training: bool, ratio: float) -> None:
    options = {"ratio": ratio, "evaluation_ratio": ratio}
    here, there = (sampler(IoUBalanced(), **options).train(training) for _ in range(2))
    there._anchor = Elsewhere(there._anchor)
    with OtherDevice():
        index = there(2, gt_segments=GT_SEGMENTS)
    assert index.device == ELSEWHERE
    assert torch.equal(index.inner, here(2, gt_segments=GT_SEGMENTS))
