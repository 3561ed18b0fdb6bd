"""At ratio=1 the gradients are those of naive training (paper Eq. 4)."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sgs import SequentialGradientSampler
from tests.reference import (
    RTOL,
    assert_same,
    coupling_loss,
    direct_features,
    gradients_of,
    relative_error,
    run,
)
from tests.sgs.encoders import DETERMINISTIC, ENCODERS, EncoderCase

NUM_ITEMS = 6
LEADS = {"[N, ...]": (NUM_ITEMS,), "[B, N, ...]": (3, NUM_ITEMS)}
MICRO_BATCH_SIZES = {"1": 1, "divides N": 3, "does not divide N": 4, "N": 6, "> N": 7, "> B*N": 99}


def groups_in_order(items: Tensor, item_dim: int, size: int) -> list[Tensor]:
    return list(torch.arange(items.shape[: item_dim + 1].numel()).split(size))


@pytest.mark.parametrize("lead", LEADS.values(), ids=LEADS)
@pytest.mark.parametrize("size", MICRO_BATCH_SIZES.values(), ids=MICRO_BATCH_SIZES)
@pytest.mark.parametrize("case", ENCODERS.values(), ids=ENCODERS)
def test_features_and_gradients_against_direct_backward(
    case: EncoderCase, size: int, lead: tuple[int, ...]
) -> None:
    encoder, items, item_dim = case.make(), case.items(*lead), len(lead) - 1
    # Dropout masks are drawn per encoder call, so the reference makes the same calls.
    groups = groups_in_order(items, item_dim, size) if case.is_stochastic else None
    torch.manual_seed(2)
    expected = run(
        encoder, lambda: direct_features(encoder, items, item_dim=item_dim, groups=groups)
    )
    sampler = SequentialGradientSampler(encoder, micro_batch_size=size, item_dim=item_dim)
    torch.manual_seed(2)
    got = run(encoder, lambda: sampler(items))
    for ours, theirs in zip(got[0], expected[0], strict=True):
        assert ours.shape == theirs.shape
        assert relative_error(ours.double(), theirs.double()) <= RTOL
    assert_same(got[1], expected[1])


@pytest.mark.parametrize("forward_size", [1, 4, 99])
@pytest.mark.parametrize("case", DETERMINISTIC.values(), ids=DETERMINISTIC)
def test_forward_micro_batch_size_changes_no_gradient(case: EncoderCase, forward_size: int) -> None:
    encoder, items = case.make(), case.items(NUM_ITEMS)
    expected = run(encoder, lambda: direct_features(encoder, items))[1]
    sampler = SequentialGradientSampler(
        encoder, micro_batch_size=2, forward_micro_batch_size=forward_size
    )
    assert_same(run(encoder, lambda: sampler(items))[1], expected)


def test_features_are_bitwise_equal_when_one_micro_batch_holds_all() -> None:
    case = ENCODERS["conv3d"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=NUM_ITEMS)
    assert torch.equal(sampler(items), encoder(items))


@pytest.mark.parametrize(
    ("name", "without", "trained"),
    [
        ("unused_submodule", "unused.weight", "used.weight"),
        ("frozen_stage", "stem.weight", "trunk.weight"),
    ],
)
def test_unused_and_frozen_parameters_get_no_gradient(
    name: str, without: str, trained: str
) -> None:
    case = ENCODERS[name]
    encoder = case.make()
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    gradients = run(encoder, lambda: sampler(case.items(NUM_ITEMS)))[1]
    assert gradients[without] is None
    assert gradients[trained] is not None


def test_gradient_accumulates_onto_what_is_there() -> None:
    case = ENCODERS["linear"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    expected = run(encoder, lambda: direct_features(encoder, items))[1]
    before = {name: torch.randn_like(p) for name, p in encoder.named_parameters()}
    for name, parameter in encoder.named_parameters():
        parameter.grad = before[name].clone()
    coupling_loss(sampler(items)).backward()
    summed = {name: before[name] + gradient for name, gradient in expected.items()}
    assert_same(gradients_of(encoder), summed)


def test_two_backwards_accumulate_twice() -> None:
    case = ENCODERS["linear"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    expected = run(encoder, lambda: direct_features(encoder, items))[1]
    encoder.zero_grad()
    loss = coupling_loss(sampler(items))
    loss.backward(retain_graph=True)
    loss.backward()
    assert_same(gradients_of(encoder), {name: 2 * g for name, g in expected.items()})


@pytest.mark.parametrize("case", ENCODERS.values(), ids=ENCODERS)
def test_autograd_grad_agrees_with_backward(case: EncoderCase) -> None:
    encoder, items = case.make(), case.items(NUM_ITEMS)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    torch.manual_seed(2)
    expected = run(encoder, lambda: sampler(items))[1]
    encoder.zero_grad()
    named = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    torch.manual_seed(2)
    loss = coupling_loss(sampler(items))
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    got = dict(zip(named, gradients, strict=True))
    assert_same(got, {name: expected[name] for name in named})
    assert all(p.grad is None for p in encoder.parameters())


def test_gradients_against_finite_differences() -> None:
    case = ENCODERS["transformer_block"]
    encoder, items = case.make(), case.items(4)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=3)
    gradient = run(encoder, lambda: sampler(items))[1]["0.linear1.weight"]
    weight, step = encoder[0].linear1.weight, 1e-6
    assert gradient is not None
    for row, column in [(0, 0), (3, 5), (11, 7)]:
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[row, column] += sign * step
                values.append(coupling_loss(encoder(items)))
                weight[row, column] -= sign * step
        numerical = (values[0] - values[1]) / (2 * step)
        torch.testing.assert_close(gradient[row, column], numerical, rtol=1e-6, atol=1e-9)


def test_items_that_require_their_gradient_get_it() -> None:
    case = ENCODERS["conv3d"]
    encoder, items = case.make(), case.items(3, NUM_ITEMS)
    direct = items.clone().requires_grad_()
    coupling_loss(direct_features(encoder, direct, item_dim=1)).backward()
    ours = items.clone().requires_grad_()
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4, item_dim=1)
    coupling_loss(sampler(ours)).backward()
    assert relative_error(ours.grad, direct.grad) <= RTOL


def test_modules_before_the_encoder_are_trained_through_it() -> None:
    case = ENCODERS["linear"]
    stem, encoder, items = nn.Linear(6, 6).double(), case.make(), case.items(NUM_ITEMS)
    both = nn.ModuleList([stem, encoder])
    expected = run(both, lambda: encoder(stem(items)))[1]
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    assert_same(run(both, lambda: sampler(stem(items)))[1], expected)


def test_frozen_encoder_still_passes_gradients_to_the_items() -> None:
    case = ENCODERS["linear"]
    encoder, items = case.make().requires_grad_(False), case.items(NUM_ITEMS).requires_grad_()
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    coupling_loss(sampler(items)).backward()
    (expected,) = torch.autograd.grad(coupling_loss(encoder(items)), items)
    assert relative_error(items.grad, expected) <= RTOL


def test_frozen_encoder_gives_plain_features() -> None:
    case = ENCODERS["linear"]
    encoder = case.make().requires_grad_(False)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    assert not sampler(case.items(NUM_ITEMS)).requires_grad
    assert sampler.last_index is None


def test_no_grad_gives_plain_features() -> None:
    case = ENCODERS["linear"]
    sampler = SequentialGradientSampler(case.make(), micro_batch_size=4)
    with torch.no_grad():
        features = sampler(case.items(NUM_ITEMS))
    assert not features.requires_grad
    torch.testing.assert_close(features, sampler.encoder(case.items(NUM_ITEMS)).detach())


def test_gradient_hooks_fire_once() -> None:
    case = ENCODERS["linear"]
    encoder, fired = case.make(), []
    encoder.weight.register_hook(lambda gradient: fired.append("tensor"))
    encoder.weight.register_post_accumulate_grad_hook(lambda p: fired.append("accumulated"))
    sampler = SequentialGradientSampler(encoder, micro_batch_size=1)
    coupling_loss(sampler(case.items(NUM_ITEMS))).backward()
    assert fired == ["tensor", "accumulated"]


def test_encoder_is_left_as_it_was() -> None:
    case = ENCODERS["tied_weights"]
    encoder = case.make()
    before = [(name, id(p)) for name, p in encoder.named_parameters(remove_duplicate=False)]
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    coupling_loss(sampler(case.items(NUM_ITEMS))).backward()
    after = [(name, id(p)) for name, p in encoder.named_parameters(remove_duplicate=False)]
    assert after == before


def test_encoder_is_left_as_it_was_when_the_second_pass_fails() -> None:
    class FailsWithGradients(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                raise KeyError("from the encoder")
            return super().forward(items)

    encoder = FailsWithGradients(6, 4).double()
    before = [id(p) for p in encoder.parameters()]
    features = SequentialGradientSampler(encoder, micro_batch_size=4)(ENCODERS["linear"].items(6))
    with pytest.raises(KeyError, match="from the encoder"):
        features.sum().backward()
    assert [id(p) for p in encoder.parameters()] == before


class DropsLastMicroBatch(SequentialGradientSampler):
    """A mutant: the second pass drops the last, short micro-batch."""

    def _training_call(self, *args: Any) -> Any:
        call = super()._training_call(*args)
        passes = call._passes
        all_of_them = passes._repeats
        passes._repeats = lambda subset: all_of_them(subset)[:-1]
        return call


def test_a_forgotten_micro_batch_is_detected() -> None:
    case = ENCODERS["linear"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    expected = run(encoder, lambda: direct_features(encoder, items))[1]
    mutant = DropsLastMicroBatch(encoder, micro_batch_size=4)
    with pytest.raises(AssertionError, match="weight: relative error"):
        assert_same(run(encoder, lambda: mutant(items))[1], expected)


def test_swapped_gradients_are_detected() -> None:
    case = ENCODERS["linear"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    expected = run(encoder, lambda: direct_features(encoder, items))[1]
    swapped = {"weight": expected["weight"].flip(0), "bias": expected["bias"]}
    with pytest.raises(AssertionError, match="weight: relative error"):
        assert_same(swapped, expected)
