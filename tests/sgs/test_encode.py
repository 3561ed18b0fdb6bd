"""`encode` and its explicit backward."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sgs import SequentialGradientSampler
from sgs.encoded_items import EncodedItems
from tests.reference import assert_same, coupling_loss, gradients_of, run, scale_gradients
from tests.sgs.encoders import ENCODERS, EncoderCase

NUM_ITEMS = 9


def feature_gradients(encoded: EncodedItems) -> Any:
    coupling_loss(encoded.features).backward()
    return pytree.tree_map(lambda leaf: leaf.grad, encoded.features)


def step(sampler: SequentialGradientSampler, items: Tensor) -> None:
    encoded = sampler.encode(items)
    encoded.backward(feature_gradients(encoded))


@pytest.mark.parametrize("ratio", [1.0, 0.3])
@pytest.mark.parametrize("case", ENCODERS.values(), ids=ENCODERS)
def test_both_forms_give_the_same_gradients(case: EncoderCase, ratio: float) -> None:
    encoder, items = case.make(), case.items(2, NUM_ITEMS)

    def gradients(backward: Callable[[SequentialGradientSampler], None]) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(3)
        encoder.zero_grad()
        torch.manual_seed(2)
        backward(
            SequentialGradientSampler(
                encoder, micro_batch_size=4, ratio=ratio, item_dim=1, generator=generator
            )
        )
        return gradients_of(encoder)

    implicit = gradients(lambda sampler: coupling_loss(sampler(items)).backward())
    assert_same(gradients(lambda sampler: step(sampler, items)), implicit)


def test_own_index_selects_with_weight_one() -> None:
    case = ENCODERS["linear"]
    encoder, items = case.make(), case.items(2, NUM_ITEMS)
    index = torch.tensor([[5, 0], [1, 8]])
    sampler = SequentialGradientSampler(encoder, micro_batch_size=3, ratio=0.3, item_dim=1)
    encoded = sampler.encode(items)
    gradients = feature_gradients(encoded)
    encoder.zero_grad()
    encoded.backward(gradients, index)
    weight = torch.zeros(2, NUM_ITEMS, dtype=torch.float64).scatter_(1, index, 1.0)
    ours = gradients_of(encoder)
    expected = run(encoder, lambda: scale_gradients(encoder(items), weight))[1]
    assert_same(ours, expected)


def test_own_index_replays_dropout_of_the_first_pass() -> None:
    case = ENCODERS["dropout"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    index = torch.tensor([0, 4, 8])
    torch.manual_seed(2)
    encoded = SequentialGradientSampler(encoder, micro_batch_size=4).encode(items)
    gradients = feature_gradients(encoded)
    encoder.zero_grad()
    encoded.backward(gradients, index)
    ours = gradients_of(encoder)
    weight = torch.zeros(NUM_ITEMS, dtype=torch.float64).scatter_(0, index, 1.0)
    torch.manual_seed(2)

    def reference() -> Tensor:
        features = torch.cat([encoder(part) for part in items.split(4)])
        return scale_gradients(features, weight)

    assert_same(ours, run(encoder, reference)[1])


def test_index_of_the_draw_is_shown_on_both() -> None:
    case = ENCODERS["linear"]
    sampler = SequentialGradientSampler(case.make(), micro_batch_size=4, ratio=0.3)
    encoded = sampler.encode(case.items(NUM_ITEMS))
    assert torch.equal(encoded.index, sampler.last_index)
    assert encoded.features.is_leaf
    assert encoded.features.requires_grad


def test_modules_before_the_encoder_are_trained() -> None:
    case = ENCODERS["linear"]
    both = nn.ModuleList([nn.Linear(6, 6).double(), case.make()])
    items = case.items(NUM_ITEMS)
    expected = run(both, lambda: both[1](both[0](items)))[1]
    both.zero_grad()
    step(SequentialGradientSampler(both[1], micro_batch_size=4), both[0](items))
    assert_same(gradients_of(both), expected)


def test_leaf_without_a_gradient_may_be_none() -> None:
    case = ENCODERS["dict_output"]
    encoder = case.make()
    encoded = SequentialGradientSampler(encoder, micro_batch_size=4).encode(case.items(NUM_ITEMS))
    low, _ = encoded.features["levels"]
    encoded.backward({"levels": [torch.ones_like(low), None], "argmax": None})
    assert encoder.low.weight.grad is not None
    assert encoder.high.weight.grad is None


def test_explicit_form_works_without_grad_mode() -> None:
    case = ENCODERS["linear"]
    encoder = case.make()
    with torch.no_grad():
        encoded = SequentialGradientSampler(encoder, micro_batch_size=4).encode(case.items(9))
        encoded.backward(torch.ones_like(encoded.features))
    assert encoder.weight.grad is not None
