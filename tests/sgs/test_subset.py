"""At ratio < 1 the gradients are those of naive training without the unsampled items."""

import pytest
import torch
from torch import Tensor

from samplers import DPP, AbstractSampler, Block, Candidates, FarthestPoint, Grid, Random
from sgs import SequentialGradientSampler
from tests.reference import (
    Gradients,
    assert_same,
    coupling_loss,
    direct_features,
    gradients_of,
    relative_error,
    run,
    scale_gradients,
)
from tests.sgs.encoders import ENCODERS, EncoderCase

NUM_ITEMS = 9
LEADS = {"[N, ...]": (NUM_ITEMS,), "[B, N, ...]": (2, NUM_ITEMS)}
BLIND = [Random(), Grid(), Block()]
GUIDED = [FarthestPoint(), DPP()]


def weight_of(sampler: SequentialGradientSampler, lead: tuple[int, ...], value: float) -> Tensor:
    """The weight of every item when all sampled ones have the same."""
    assert sampler.last_index is not None
    weight = torch.zeros(lead, dtype=torch.float64)
    return weight.scatter_(-1, sampler.last_index, value)


def sampled_groups(sampler: SequentialGradientSampler, lead: tuple[int, ...]) -> list[Tensor]:
    """The micro-batches of the first pass: sampled items apart, in the order of first items."""
    sampled = weight_of(sampler, lead, 1).flatten().bool()
    size = sampler.micro_batch_size
    parts = (sampled.nonzero()[:, 0], (~sampled).nonzero()[:, 0])
    return sorted((group for part in parts for group in part.split(size)), key=Tensor.tolist)


@pytest.mark.parametrize("weights", ["inverse_probability", "none"])
@pytest.mark.parametrize("lead", LEADS.values(), ids=LEADS)
@pytest.mark.parametrize("size", [1, 2, 99])
@pytest.mark.parametrize("case", ENCODERS.values(), ids=ENCODERS)
def test_gradients_against_direct_backward_of_the_subset(
    case: EncoderCase, size: int, lead: tuple[int, ...], weights: str
) -> None:
    encoder, items, item_dim = case.make(), case.items(*lead), len(lead) - 1
    sampler = SequentialGradientSampler(
        encoder,
        micro_batch_size=size,
        ratio=1 / 3,
        weights=weights,
        item_dim=item_dim,
        generator=torch.Generator().manual_seed(3),
    )
    torch.manual_seed(2)
    features, gradients = run(encoder, lambda: sampler(items))
    weight = weight_of(sampler, lead, 3.0 if weights == "inverse_probability" else 1.0)
    groups = sampled_groups(sampler, lead)
    torch.manual_seed(2)
    expected_features, expected = run(
        encoder,
        lambda: scale_gradients(
            direct_features(encoder, items, item_dim=item_dim, groups=groups), weight
        ),
    )
    for ours, theirs in zip(features, expected_features, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    assert_same(gradients, expected)


@pytest.mark.parametrize("strategy", [*BLIND, *GUIDED], ids=repr)
def test_every_strategy_without_labels_selects_the_gradients(strategy: AbstractSampler) -> None:
    case = ENCODERS["linear"]
    encoder, items = case.make(), case.items(2, NUM_ITEMS)
    sampler = SequentialGradientSampler(
        encoder, micro_batch_size=2, ratio=0.5, sampler=strategy, weights="none", item_dim=1
    )
    torch.manual_seed(2)
    gradients = run(encoder, lambda: sampler(items))[1]
    assert sampler.last_index is not None
    assert sampler.last_index.shape == (2, 5)
    weight = weight_of(sampler, (2, NUM_ITEMS), 1)
    expected = run(encoder, lambda: scale_gradients(encoder(items), weight))[1]
    assert_same(gradients, expected)


def test_dropout_is_replayed_when_the_first_pass_has_larger_micro_batches() -> None:
    case = ENCODERS["dropout"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    sampler = SequentialGradientSampler(
        encoder,
        micro_batch_size=2,
        forward_micro_batch_size=4,
        ratio=0.5,
        sampler=Random(),
        weights="none",
    )
    torch.manual_seed(2)
    gradients = run(encoder, lambda: sampler(items))[1]
    weight = weight_of(sampler, (NUM_ITEMS,), 1)
    sampled, rest = weight.nonzero()[:, 0], (weight == 0).nonzero()[:, 0]
    torch.manual_seed(2)
    # The draw of the subset comes before the dropout masks.
    torch.randperm(NUM_ITEMS)
    groups = sorted([*sampled.split(2), *rest.split(4)], key=Tensor.tolist)
    expected = run(
        encoder,
        lambda: scale_gradients(direct_features(encoder, items, groups=groups), weight),
    )[1]
    assert_same(gradients, expected)


@pytest.mark.parametrize("strategy", GUIDED, ids=repr)
def test_feature_guided_strategy_replays_dropout_in_whole_micro_batches(
    strategy: AbstractSampler,
) -> None:
    case = ENCODERS["dropout"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    sampler = SequentialGradientSampler(
        encoder, micro_batch_size=4, ratio=0.3, sampler=strategy, weights="none"
    )
    torch.manual_seed(2)
    gradients = run(encoder, lambda: sampler(items))[1]
    weight = weight_of(sampler, (NUM_ITEMS,), 1)
    groups = list(torch.arange(NUM_ITEMS).split(4))
    torch.manual_seed(2)
    expected = run(
        encoder,
        lambda: scale_gradients(direct_features(encoder, items, groups=groups), weight),
    )[1]
    assert_same(gradients, expected)


def test_feature_guided_strategy_refuses_larger_stochastic_micro_batches() -> None:
    case = ENCODERS["dropout"]
    sampler = SequentialGradientSampler(
        case.make(),
        micro_batch_size=2,
        forward_micro_batch_size=4,
        ratio=0.3,
        sampler=FarthestPoint(),
        weights="none",
    )
    with pytest.raises(RuntimeError, match="drew random numbers in micro-batches of 4"):
        coupling_loss(sampler(case.items(NUM_ITEMS))).backward()


@pytest.mark.parametrize("strategy", [Block(), DPP()], ids=repr)
def test_weights_are_the_inverse_of_the_strategys_own_probabilities(
    strategy: AbstractSampler,
) -> None:
    """Both strategies have unequal probabilities: a constant weight would be wrong."""
    case = ENCODERS["linear"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=2, ratio=0.3, sampler=strategy)
    gradients = run(encoder, lambda: sampler(items))[1]
    candidates = Candidates(num_items=NUM_ITEMS, features=encoder(items).detach())
    probability = strategy.inclusion_probability(candidates, 3)
    assert probability.std() > 0.01
    weight = weight_of(sampler, (NUM_ITEMS,), 1) / probability
    expected = run(encoder, lambda: scale_gradients(encoder(items), weight))[1]
    assert_same(gradients, expected, rtol=1e-9)


def mean_gradient(weights: str, strategy: AbstractSampler, *, draws: int) -> Gradients:
    """Draw for so many videos at once, all of which have the same items."""
    case = ENCODERS["linear"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    sampler = SequentialGradientSampler(
        encoder,
        micro_batch_size=NUM_ITEMS * draws,
        ratio=1 / 3,
        sampler=strategy,
        weights=weights,
        item_dim=1,
        generator=torch.Generator().manual_seed(0),
    )
    features = sampler(items.expand(draws, -1, -1))
    torch.stack([coupling_loss(video) for video in features]).sum().backward()
    return {name: g / draws for name, g in gradients_of(encoder).items() if g is not None}


@pytest.mark.parametrize("strategy", BLIND, ids=repr)
def test_mean_gradient_is_the_full_one_with_weights_and_not_without(
    strategy: AbstractSampler,
) -> None:
    case = ENCODERS["linear"]
    encoder = case.make()
    full = run(encoder, lambda: encoder(case.items(NUM_ITEMS)))[1]["weight"]
    assert full is not None
    weighted = mean_gradient("inverse_probability", strategy, draws=500)["weight"]
    unweighted = mean_gradient("none", strategy, draws=500)["weight"]
    assert weighted is not None
    assert unweighted is not None
    # The standard error of the mean is 3 % to 5 % here; without weights two thirds are missing.
    assert relative_error(weighted, full) < 0.15
    assert relative_error(unweighted, full) > 0.4


def test_videos_are_sampled_on_their_own() -> None:
    case = ENCODERS["linear"]
    sampler = SequentialGradientSampler(case.make(), micro_batch_size=4, ratio=1 / 3, item_dim=1)
    sampler(case.items(8, NUM_ITEMS))
    assert sampler.last_index is not None
    assert sampler.last_index.shape == (8, 3)
    assert len({tuple(index.tolist()) for index in sampler.last_index}) > 1
    assert bool((sampler.last_index.diff(dim=1) > 0).all())


def test_same_generator_state_gives_the_same_subset() -> None:
    case = ENCODERS["linear"]
    indices = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(5)
        sampler = SequentialGradientSampler(
            case.make(), micro_batch_size=4, ratio=0.3, generator=generator
        )
        sampler(case.items(40))
        indices.append(sampler.last_index)
    assert torch.equal(*indices)


def test_unsampled_items_get_no_item_gradient() -> None:
    case = ENCODERS["linear"]
    items = case.items(NUM_ITEMS).requires_grad_()
    sampler = SequentialGradientSampler(case.make(), micro_batch_size=2, ratio=1 / 3)
    coupling_loss(sampler(items)).backward()
    touched = items.grad.abs().sum(dim=1).nonzero()[:, 0]
    assert torch.equal(touched, sampler.last_index)


def test_non_finite_gradient_of_an_unsampled_item_is_ignored() -> None:
    case = ENCODERS["dropout"]
    encoder = case.make()
    sampler = SequentialGradientSampler(
        encoder, micro_batch_size=4, ratio=0.3, sampler=FarthestPoint(start=0), weights="none"
    )
    encoded = sampler.encode(case.items(NUM_ITEMS))
    gradient = torch.full_like(encoded.features, torch.nan)
    gradient[encoded.index] = 1
    encoded.backward(gradient)
    assert encoder[0].weight.grad.isfinite().all()
