"""Micro-batches with a kept graph are not encoded again, and gradients stay the same."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from samplers import DPP
from sgs import SequentialGradientSampler, Shared
from tests.reference import assert_same, coupling_loss, gradients_of, relative_error, run
from tests.sgs.encoders import ENCODERS, EncoderCase, tried
from tests.sgs.test_memory import peak_saved_bytes, wrapped

NUM_ITEMS, SIZE = 11, 3


def calls_of(encoder: nn.Module) -> list[bool]:
    """Return a list that records for each call whether gradients are enabled."""
    calls: list[bool] = []
    encoder.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    return calls


@pytest.mark.parametrize("kept", [1, 2, 4, 9])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("case", ENCODERS.values(), ids=ENCODERS)
def test_gradients_are_those_without_kept_graphs(
    case: EncoderCase, ratio: float, kept: int
) -> None:
    found = []
    for graphs in (0, kept):
        encoder, items = case.make(), case.items(NUM_ITEMS)
        sampler = SequentialGradientSampler(
            encoder,
            micro_batch_size=SIZE,
            ratio=ratio,
            generator=torch.Generator().manual_seed(3),
            kept_graphs=graphs,
        )
        torch.manual_seed(2)
        found.append(run(encoder, lambda: sampler(items))[1])  # noqa: B023
    assert_same(*found)


@pytest.mark.parametrize(("kept", "again"), [(0, 4), (1, 3), (4, 0), (9, 0)])
def test_kept_micro_batches_are_called_once(kept: int, again: int) -> None:
    encoder = nn.Linear(3, 4)
    calls = calls_of(encoder)
    sampler = tried(SequentialGradientSampler(encoder, micro_batch_size=SIZE, kept_graphs=kept))
    sampler(torch.randn(NUM_ITEMS, 3)).sum().backward()
    kept = min(kept, 4)
    assert calls == [True] * kept + [False] * (4 - kept) + [True] * again


def test_only_sampled_items_keep_a_graph() -> None:
    encoder = nn.Linear(3, 4)
    calls = calls_of(encoder)
    sampler = tried(
        SequentialGradientSampler(encoder, micro_batch_size=2, ratio=0.4, kept_graphs=9)
    )
    sampler(torch.randn(10, 3)).sum().backward()
    # In the order of their first items, each once.
    assert sorted(calls) == [False] * 3 + [True] * 2


def test_strategies_that_look_at_features_keep_none() -> None:
    encoder = nn.Linear(3, 4)
    calls = calls_of(encoder)
    sampler = tried(
        SequentialGradientSampler(
            encoder, micro_batch_size=2, ratio=0.4, sampler=DPP(), kept_graphs=9
        )
    )
    sampler(torch.randn(10, 3)).sum().backward()
    assert calls == [False] * 5 + [True] * 2


def test_saved_bytes_grow_by_one_micro_batch_per_kept_graph() -> None:
    peaks = [peak_saved_bytes(wrapped(kept_graphs=kept), 32) for kept in (0, 1, 2, 3)]
    # Without kept graphs one is alive at a time. The first kept graph adds none: it is used first.
    assert peaks[1] < 2.1 * peaks[0]
    assert abs((peaks[3] - peaks[2]) - peaks[0]) <= 0.1 * peaks[0]
    assert peak_saved_bytes(wrapped(kept_graphs=2), 64) <= 1.01 * peaks[2]


def test_a_second_backward_encodes_again() -> None:
    case = ENCODERS["dropout"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    calls = calls_of(encoder)
    sampler = tried(SequentialGradientSampler(encoder, micro_batch_size=SIZE, kept_graphs=2))
    loss = coupling_loss(sampler(items))
    loss.backward(retain_graph=True)
    first = gradients_of(encoder)
    encoder.zero_grad()
    loss.backward()
    assert_same(gradients_of(encoder), first)
    assert calls == [True] * 2 + [False] * 2 + [True] * 2 + [True] * 4


@pytest.mark.parametrize("name", ["linear", "dropout"])
def test_an_own_index_uses_the_kept_graphs_that_it_needs(name: str) -> None:
    case, index = ENCODERS[name], torch.tensor([1, 4, 8])
    found = []
    for kept in (0, 2):
        encoder, items = case.make(), case.items(NUM_ITEMS)
        torch.manual_seed(2)
        sampler = SequentialGradientSampler(encoder, micro_batch_size=SIZE, kept_graphs=kept)
        encoded = sampler.encode(items)
        encoded.backward(torch.ones_like(encoded.features), index)
        found.append(gradients_of(encoder))
    assert_same(*found)


def test_items_and_shared_tensors_get_their_gradients() -> None:
    class Shifted(nn.Linear):
        def forward(self, items: Tensor, shift: Tensor) -> Tensor:
            return super().forward(items).tanh() * shift

    def gradients(call: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        drawn = torch.Generator().manual_seed(0)
        items, shift = (
            torch.randn(*shape, dtype=torch.float64, generator=drawn, requires_grad=True)
            for shape in ((NUM_ITEMS, 3), (4,))
        )
        coupling_loss(call(items, shift)).backward()
        return [items.grad, shift.grad]

    encoder = Shifted(3, 4).double()
    sampler = SequentialGradientSampler(encoder, micro_batch_size=SIZE, kept_graphs=2)
    ours = gradients(lambda items, shift: sampler(items, Shared(shift)))
    for got, expected in zip(ours, gradients(encoder), strict=True):
        assert relative_error(got, expected) <= 1e-12


def test_the_encoder_holds_its_own_parameters_between_the_passes() -> None:
    encoder = nn.Linear(3, 4)
    before = list(encoder.parameters())
    sampler = SequentialGradientSampler(encoder, micro_batch_size=SIZE, kept_graphs=2)
    loss = sampler(torch.randn(NUM_ITEMS, 3)).sum()
    assert all(a is b for a, b in zip(encoder.parameters(), before, strict=True))
    with torch.no_grad():
        encoder.weight.add_(1)
    with pytest.raises(RuntimeError, match="were modified in place after the forward pass"):
        loss.backward()


def test_gradients_left_by_a_failed_backward_are_forgotten() -> None:
    class Fails(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            if failing:
                raise ValueError("out of memory, say")
            return super().forward(items)

    failing: list[bool] = []
    encoder, items = Fails(3, 4).double(), torch.randn(NUM_ITEMS, 3, dtype=torch.float64)
    expected = run(encoder, lambda: encoder(items))[1]
    encoder.zero_grad()
    sampler = SequentialGradientSampler(encoder, micro_batch_size=SIZE, kept_graphs=1)
    loss = coupling_loss(sampler(items))
    failing.append(True)
    with pytest.raises(ValueError, match="out of memory"):
        loss.backward(retain_graph=True)
    failing.clear()
    loss.backward()
    assert_same(gradients_of(encoder), expected)


def test_without_items_the_empty_graph_is_used() -> None:
    encoder = nn.Linear(3, 4)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=2, kept_graphs=1)
    sampler(torch.randn(0, 3)).sum().backward()
    assert torch.equal(encoder.weight.grad, torch.zeros(4, 3))
