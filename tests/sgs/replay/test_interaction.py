"""The first call tries whether the features of an item depend on the others."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgs import SequentialGradientSampler
from tests.sgs.encoders import ENCODERS

# The shape checker draws from Python's random, which counts as drawn by the encoder.
pytestmark = pytest.mark.usefixtures("raw_errors")

ITEMS = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


class Encoder(nn.Linear):
    """One layer, and a function of its outputs."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__(6, 4)
        self.function = function

    def forward(self, items: Tensor) -> Tensor:
        return self.function(super().forward(items))


def sampler_of(encoder: nn.Module, **options: Any) -> SequentialGradientSampler:
    return SequentialGradientSampler(encoder, micro_batch_size=4, **options)


def functional_batch_norm(hidden: Tensor) -> Tensor:
    return F.batch_norm(hidden, None, None, training=True)


def as_time(hidden: Tensor) -> Tensor:
    return hidden.cumsum(dim=0)


def as_time_reversed(hidden: Tensor) -> Tensor:
    return hidden.flip(0).cumsum(dim=0).flip(0)


def minus_last(hidden: Tensor) -> Tensor:
    return hidden - hidden[-1:]


def minus_mean(hidden: Tensor) -> Tensor:
    return F.dropout(hidden, 0.5) - hidden.mean(dim=0)


@pytest.mark.parametrize(
    "function", [functional_batch_norm, as_time, as_time_reversed, minus_last, minus_mean]
)
def test_items_that_interact_are_refused_in_the_first_call(
    function: Callable[[Tensor], Tensor],
) -> None:
    encoder = Encoder(function)
    with pytest.raises(RuntimeError, match=r"items interact.*batch_first=True.*check_replay=False"):
        sampler_of(encoder)(ITEMS)
    sampler_of(encoder, check_replay=False)(ITEMS).sum().backward()
    assert encoder.weight.grad is not None


@pytest.mark.parametrize("num_items", [8, 9])
def test_an_output_without_items_is_refused(num_items: int) -> None:
    class Queries(nn.Linear):
        def forward(self, items: Tensor) -> dict[str, Tensor]:
            return {"features": super().forward(items), "weights": self.weight}

    with pytest.raises(ValueError, match=r"expected 3 row|for 4 items and for one less"):
        sampler_of(Queries(6, 4))(torch.randn(num_items, 6))


def test_features_that_are_equal_by_chance_are_accepted() -> None:
    """Such as classes, or those of a last layer of zeros."""
    sampler_of(Encoder(lambda hidden: hidden * 0))(ITEMS)
    sampler_of(Encoder(lambda hidden: hidden * (hidden * 0 + 1).round()))(ITEMS.sign())


class OfClips(nn.Module):
    """A transformer layer that reads the clips as time, since `batch_first=True` was forgotten."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 12, dropout=dropout)

    def forward(self, items: Tensor) -> Tensor:
        return self.layer(items[:, None])[:, 0]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("mode", [True, False])
def test_attention_over_items_is_refused(dropout: float, mode: bool) -> None:
    with pytest.raises(RuntimeError, match="items interact"):
        sampler_of(OfClips(dropout).train(mode))(ITEMS)


def test_equal_items_tell_nothing_and_the_next_call_tries_again() -> None:
    sampler = sampler_of(Encoder(functional_batch_norm))
    sampler(torch.ones(8, 6))
    with pytest.raises(RuntimeError, match="items interact"):
        sampler(ITEMS)


def test_one_large_channel_hides_no_interaction() -> None:
    def beside_a_large_channel(hidden: Tensor) -> Tensor:
        return torch.cat([1e-3 * (hidden - hidden.mean(dim=0)), 1e4 + hidden], dim=1)

    with pytest.raises(RuntimeError, match="items interact"):
        sampler_of(Encoder(beside_a_large_channel))(ITEMS)


def test_random_numbers_of_numpy_after_sorting_are_accepted() -> None:
    def jittered(hidden: Tensor) -> Tensor:
        order = hidden[:, 0].argsort()
        drawn = torch.from_numpy(np.random.rand(len(order), 1)).to(hidden)  # noqa: NPY002
        return (hidden[order] * drawn)[order.argsort()]

    for _ in range(3):
        sampler_of(Encoder(jittered))(torch.randn(8, 6)).sum().backward()


def test_a_compiled_encoder_stays_compiled() -> None:
    calls: list[int] = []

    def backend(graph: Any, examples: Any) -> Any:
        return lambda *args: calls.append(1) or graph(*args)

    def sorted_dropout(hidden: Tensor) -> Tensor:
        order = hidden.detach()[:, 0].argsort()
        return F.dropout(hidden[order], 0.3)[order.argsort()]

    sampler = sampler_of(torch.compile(Encoder(sorted_dropout), backend=backend))
    counts = []
    for _ in range(3):
        calls.clear()
        sampler(ITEMS).sum().backward()
        counts.append(len(calls))
    assert counts[1] == counts[2] == 4


def test_memory_that_the_encoder_returns_again_is_not_overwritten() -> None:
    class Static(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            output = super().forward(items)
            if torch.is_grad_enabled():
                return output
            return memory[: len(items)].copy_(output)

    memory, encoder = torch.empty(8, 4), Static(6, 4)
    features = sampler_of(encoder, ratio=0.4)(ITEMS)
    torch.testing.assert_close(features, encoder(ITEMS))


def test_an_encoder_that_fails_on_other_items_is_accepted() -> None:
    def ascending(hidden: Tensor) -> Tensor:
        if len(hidden) == 4 and bool((hidden[:, 0].diff() < 0).any()):
            raise ValueError("times must ascend")
        return hidden

    encoder = Encoder(ascending)
    with torch.no_grad():
        order = encoder.weight.new_tensor(range(8))
        encoder.weight.zero_()[0, 0] = 1
    items = torch.zeros(8, 6)
    items[:, 0] = order
    sampler_of(encoder)(items).sum().backward()


def test_dropout_after_sorting_is_accepted() -> None:
    """Its masks go to other items if other items come with them."""

    def sorted_dropout(hidden: Tensor) -> Tensor:
        order = hidden[:, 0].argsort()
        return F.dropout(hidden[order], 0.5)[order.argsort()]

    for seed in range(20):
        torch.manual_seed(seed)
        sampler_of(Encoder(sorted_dropout))(torch.randn(8, 6)).sum().backward()


def test_features_that_are_trimmed_to_the_longest_item_are_accepted() -> None:
    sampler = sampler_of(Encoder(lambda hidden: hidden[:, : int(hidden[0, 0] > 0) + 2]))
    sampler.encoder.weight.data.copy_(torch.eye(4, 6))
    sampler.encoder.bias.data.zero_()
    items = torch.ones(8, 6)
    items[[2, 6], 0] = -1
    assert sampler(items).shape == (8, 3)


def test_draws_that_depend_on_the_items_are_accepted() -> None:
    def as_many_as_positive(hidden: Tensor) -> Tensor:
        torch.rand(int((hidden > 0).sum()))
        return F.dropout(hidden, 0.5)

    sampler_of(Encoder(as_many_as_positive))(ITEMS)


@pytest.mark.parametrize("name", ENCODERS)
def test_only_the_first_call_of_several_micro_batches_encodes_one_twice_more(name: str) -> None:
    encoder = ENCODERS[name].make()
    calls: list[object] = []
    encoder.register_forward_hook(lambda *_: calls.append(0))
    sampler = sampler_of(encoder)
    for num_items, expected in ((3, 1), (8, 4), (8, 2)):
        calls.clear()
        sampler(ENCODERS[name].items(num_items))
        assert len(calls) == expected


def test_nothing_is_left_by_the_trial() -> None:
    class Counts(nn.Linear):
        def __init__(self) -> None:
            super().__init__(6, 4)
            self.register_buffer("num_calls", torch.zeros(()))

        def forward(self, items: Tensor) -> Tensor:
            self.num_calls += 1
            return F.dropout(super().forward(items), 0.5)

    encoder = Counts()
    states = []
    for check in (True, False):
        torch.manual_seed(0)
        sampler_of(encoder, check_replay=check)(ITEMS)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    assert encoder.num_calls == 2


def test_state_that_only_other_items_change_is_not_left_by_the_trial() -> None:
    class Notes(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            if items[2, 0] == 0:  # which comes third in the trial only
                self.was_tried = True
            return super().forward(items)

    encoder = Notes(1, 4)
    sampler_of(encoder)(torch.arange(8.0)[:, None])
    assert not hasattr(encoder, "was_tried")
