"""Arguments and outputs of any structure."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sgs import SequentialGradientSampler, Shared
from tests.reference import RTOL, assert_same, relative_error, run

NUM_ITEMS = 7


class ManyArguments(nn.Module):
    """Takes items in a dict, a mask by keyword, one tensor for all items and constants."""

    def __init__(self, calls: list[tuple[str, int]]) -> None:
        super().__init__()
        self.project = nn.Linear(5, 4)
        self.record = calls.append

    def forward(
        self,
        items: dict[str, Tensor],
        *,
        mask: Tensor,
        context: Tensor,
        power: int = 1,
        tag: str = "",
    ) -> tuple[Tensor, dict[str, Any]]:
        self.record((tag, len(mask)))
        hidden = self.project(items["x"] * items["scale"]) * mask[..., None]
        return (hidden + context) ** power, {"mask": mask, "note": "constant"}


def arguments(*lead: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    draw = {"dtype": torch.float64, "generator": generator}
    return {
        "items": {"x": torch.randn(*lead, 5, **draw), "scale": torch.rand(*lead, 1, **draw)},
        "mask": torch.rand(*lead, generator=generator) > 0.3,
        "context": torch.randn(4, **draw),
    }


@pytest.mark.parametrize("lead", [(NUM_ITEMS,), (2, NUM_ITEMS)], ids=str)
def test_pytrees_keywords_shared_tensors_and_constants(lead: tuple[int, ...]) -> None:
    calls: list[tuple[str, int]] = []
    encoder = ManyArguments(calls).double()
    given = arguments(*lead)
    context = given["context"].requires_grad_()
    call = {"mask": given["mask"], "power": 3, "tag": "t"}
    outputs, rest = encoder(given["items"], context=context, **call)
    outputs.square().sum().backward()
    expected = {n: p.grad.clone() for n, p in encoder.named_parameters()}
    expected_context = context.grad.clone()

    encoder.zero_grad()
    context.grad = None
    sampler = SequentialGradientSampler(encoder, micro_batch_size=3, item_dim=len(lead) - 1)
    calls.clear()
    ours, ours_rest = sampler(given["items"], context=Shared(context), **call)
    ours.square().sum().backward()
    assert relative_error(ours, outputs) <= RTOL
    assert torch.equal(ours_rest["mask"], rest["mask"])
    assert ours_rest["note"] == "constant"
    assert_same({n: p.grad for n, p in encoder.named_parameters()}, expected)
    assert relative_error(context.grad, expected_context) <= RTOL
    assert {tag for tag, _ in calls} == {"t"}
    assert max(size for _, size in calls) == 3


def test_shared_pytree_reaches_every_micro_batch_whole() -> None:
    class TakesPair(nn.Linear):
        def forward(self, items: Tensor, pair: dict[str, Any]) -> Tensor:
            assert pair["tensor"].shape == (3,)
            return super().forward(items) + pair["tensor"].sum() + pair["number"]

    sampler = SequentialGradientSampler(TakesPair(5, 4), micro_batch_size=2)
    shared = Shared({"tensor": torch.ones(3), "number": 2})
    sampler(torch.randn(NUM_ITEMS, 5), shared).sum().backward()
    assert sampler.encoder.weight.grad is not None


def test_output_leaf_without_a_loss_gets_no_gradient() -> None:
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(5, 4), nn.Linear(5, 4)

        def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
            return self.used(items), self.idle(items)

    encoder = TwoHeads()
    sampler = SequentialGradientSampler(encoder, micro_batch_size=3)
    used, _ = sampler(torch.randn(NUM_ITEMS, 5))
    used.square().sum().backward()
    assert encoder.used.weight.grad is not None
    assert encoder.idle.weight.grad is None


def test_detached_output_carries_no_gradient() -> None:
    class Detaches(nn.Linear):
        def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
            output = super().forward(items)
            return output, output.detach()

    encoder = Detaches(5, 4).double()
    items = torch.randn(NUM_ITEMS, 5, dtype=torch.float64)

    def both(encode: nn.Module) -> Tensor:
        output, detached = encode(items)
        return output * detached

    expected = run(encoder, lambda: both(encoder))[1]
    sampler = SequentialGradientSampler(encoder, micro_batch_size=3)
    assert_same(run(encoder, lambda: both(sampler))[1], expected)


def test_non_contiguous_items_are_read_in_place() -> None:
    encoder = nn.Linear(5, 4).double()
    items = torch.randn(5, NUM_ITEMS, 3, dtype=torch.float64).permute(2, 1, 0)
    assert not items.is_contiguous()
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4, item_dim=1)
    torch.testing.assert_close(sampler(items), encoder(items), rtol=RTOL, atol=1e-14)


def test_integer_items_are_accepted() -> None:
    encoder = nn.EmbeddingBag(9, 4).double()
    tokens = torch.randint(9, (NUM_ITEMS, 6), generator=torch.Generator().manual_seed(0))
    expected = run(encoder, lambda: encoder(tokens))[1]
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    assert_same(run(encoder, lambda: sampler(tokens))[1], expected)


def test_encoder_may_change_its_items_in_place() -> None:
    both = nn.ModuleList([nn.Linear(5, 5), nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 4))])
    both.double()
    items = torch.randn(NUM_ITEMS, 5, dtype=torch.float64)
    expected = run(both, lambda: both[1](both[0](items)))[1]
    sampler = SequentialGradientSampler(both[1], micro_batch_size=3)
    assert_same(run(both, lambda: sampler(both[0](items)))[1], expected)


def test_two_calls_in_one_step_sum_their_gradients() -> None:
    encoder = nn.Linear(5, 4).double()
    first, second = torch.randn(2, NUM_ITEMS, 5, dtype=torch.float64)
    expected = run(encoder, lambda: encoder(first) * encoder(second))[1]
    sampler = SequentialGradientSampler(encoder, micro_batch_size=3)
    assert_same(run(encoder, lambda: sampler(first) * sampler(second))[1], expected)


def test_repr_shows_the_options() -> None:
    sampler = SequentialGradientSampler(nn.Linear(5, 4), micro_batch_size=3, ratio=0.3)
    assert "micro_batch_size=3" in repr(sampler)
    assert "ratio=0.3, sampler=Grid(" in repr(sampler)


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_no_items_give_empty_features_and_zero_gradients_as_naive_training(ratio: float) -> None:
    encoder = nn.Linear(3, 4)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=2, ratio=ratio)
    features = sampler(torch.randn(0, 3))
    features.sum().backward()
    assert features.shape == (0, 4)
    assert torch.equal(encoder.weight.grad, torch.zeros_like(encoder.weight))
