"""A strategy that looks at the gradients of the features draws its subset in the backward."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from samplers import Candidates, GradientNorm
from sgs import SequentialGradientSampler
from tests.samplers import laws

ITEMS = torch.randn(2, 9, 5, generator=laws.seeded(0), dtype=torch.float64)
# The last items of the first video do not matter to the loss.
MATTERS = torch.rand(2, 9, 3, generator=laws.seeded(1), dtype=torch.float64)
MATTERS[0, 6:] = 0


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def loss_of(features: Tensor) -> Tensor:
    return (features.square() * MATTERS).sum()


def wrapped(encoder: nn.Module, ratio: float = 0.5, **options: object) -> SequentialGradientSampler:
    settings = {
        "micro_batch_size": 2,
        "item_dim": 1,
        "sampler": GradientNorm(),
        "generator": laws.seeded(3),
    }
    return SequentialGradientSampler(encoder, ratio=ratio, **settings | options)  # type: ignore[arg-type]


def gradients_by_hand(
    encoder: nn.Module, loss: Callable[[Tensor], Tensor], index: Tensor, *, is_weighted: bool
) -> tuple[Tensor, ...]:
    """Back-propagate each sampled item's own gradient over its probability, in one graph."""
    features = encoder(ITEMS)
    (gradient,) = torch.autograd.grad(loss(features), features, retain_graph=True)
    weight = torch.zeros(2, 9, 1, dtype=torch.float64)
    for video, chosen in enumerate(index):
        norms = gradient[video].square().sum(dim=1).sqrt()
        candidates = Candidates(num_items=9, gradient_norm=norms)
        probability = GradientNorm().inclusion_probability(candidates, len(chosen))
        weight[video, chosen, 0] = 1 / probability[chosen] if is_weighted else 1.0
    return torch.autograd.grad(features, encoder.parameters(), gradient * weight)


def check_gradients(encoder: nn.Module, expected: tuple[Tensor, ...]) -> None:
    for parameter, wanted in zip(encoder.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("weights", ["inverse_probability", "none"])
def test_gradient_is_the_weighted_sum_of_the_sampled_items(weights: str) -> None:
    sampler = wrapped(linear(), weights=weights)
    loss_of(sampler(ITEMS)).backward()
    index = sampler.last_index
    assert index is not None
    assert index.shape == (2, 5)
    expected = gradients_by_hand(
        linear(), loss_of, index, is_weighted=weights == "inverse_probability"
    )
    check_gradients(sampler.encoder, expected)
    other = gradients_by_hand(linear(), loss_of, (index + 1) % 9, is_weighted=True)
    with pytest.raises(AssertionError):
        check_gradients(sampler.encoder, other)


def test_items_without_a_gradient_are_not_encoded_again() -> None:
    sampler = wrapped(linear())
    for _ in range(5):
        loss_of(sampler(ITEMS)).backward()
        assert sampler.last_index is not None
        assert sampler.last_index[0].max() < 6


def test_mean_over_draws_is_the_full_gradient() -> None:
    draws = 400
    sampler = wrapped(linear(), micro_batch_size=18 * draws)
    features = sampler(ITEMS.repeat(draws, 1, 1))
    (loss_of(features.unflatten(0, (draws, 2))) / draws).backward()
    naive = linear()
    loss_of(naive(ITEMS)).backward()
    full = torch.cat([p.grad.flatten() for p in naive.parameters() if p.grad is not None])
    mean = torch.cat([p.grad.flatten() for p in sampler.parameters() if p.grad is not None])
    assert float((mean - full).norm() / full.norm()) < 0.05
    once = wrapped(linear())
    loss_of(once(ITEMS)).backward()
    single = torch.cat([p.grad.flatten() for p in once.parameters() if p.grad is not None])
    assert float((single - full).norm() / full.norm()) > 0.05


def test_full_ratio_gives_the_naive_gradient() -> None:
    sampler, naive = wrapped(linear(), ratio=1.0), linear()
    loss_of(sampler(ITEMS)).backward()
    loss_of(naive(ITEMS)).backward()
    check_gradients(
        sampler.encoder, tuple(p.grad for p in naive.parameters() if p.grad is not None)
    )


def test_index_is_known_after_the_backward_only() -> None:
    sampler = wrapped(linear())
    loss_of(sampler(ITEMS)).backward()
    features = sampler(ITEMS)
    assert sampler.last_index is None
    loss_of(features).backward()
    assert sampler.last_index is not None


def test_explicit_form_draws_in_its_backward() -> None:
    sampler = wrapped(linear())
    encoded = sampler.encode(ITEMS)
    assert encoded.index is None
    loss_of(encoded.features).backward()
    encoded.backward(encoded.features.grad)
    assert encoded.index.shape == (2, 5)
    assert torch.equal(encoded.index, sampler.last_index)
    expected = gradients_by_hand(linear(), loss_of, encoded.index, is_weighted=True)
    check_gradients(sampler.encoder, expected)


def test_explicit_index_takes_the_place_of_a_draw() -> None:
    sampler = wrapped(linear())
    encoded = sampler.encode(ITEMS)
    loss_of(encoded.features).backward()
    index = torch.tensor([[1, 2], [3, 8]])
    encoded.backward(encoded.features.grad, index)
    assert encoded.index is None
    expected = gradients_by_hand(linear(), loss_of, index, is_weighted=False)
    check_gradients(sampler.encoder, expected)


def test_norm_is_that_over_all_outputs_of_an_item() -> None:
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 2).double(), nn.Linear(5, 3).double()

        def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
            return self.first(items), self.second(items)

    sampler = wrapped(TwoHeads(), ratio=2 / 9, weights="none")
    first, second = sampler(ITEMS)
    # Items 0 and 1 matter by one output each, and most of all.
    scale = torch.full((2, 9, 1), 1e-9, dtype=torch.float64)
    by_first, by_second = scale.clone(), scale.clone()
    by_first[:, 0], by_second[:, 1] = 1.0, 1.0
    ((first * by_first).sum() + (second * by_second).sum()).backward()
    assert sampler.last_index is not None
    assert sampler.last_index.tolist() == [[0, 1], [0, 1]]


def test_dropout_is_replayed() -> None:
    encoder = nn.Sequential(linear(), nn.Dropout(0.5))
    sampler = wrapped(encoder, weights="none")
    features = sampler(ITEMS)
    kept = (features != 0).double().detach()
    loss_of(features).backward()
    index = sampler.last_index
    assert index is not None
    chosen = torch.zeros(2, 9, 1, dtype=torch.float64).scatter_(1, index[..., None], 1.0)
    naive = linear()
    plain = naive(ITEMS) * kept * 2
    (loss_of(plain * chosen)).backward()
    check_gradients(encoder[0], tuple(p.grad for p in naive.parameters() if p.grad is not None))


def test_a_loss_without_any_gradient_draws_evenly() -> None:
    sampler = wrapped(linear())
    (loss_of(sampler(ITEMS)) * 0).backward()
    assert all(float(p.grad.abs().max()) == 0 for p in sampler.parameters() if p.grad is not None)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_overflow_reaches_the_parameters(value: float) -> None:
    """As loss scaling needs it, to leave the step out."""
    sampler = wrapped(linear(), ratio=1 / 9)
    features = sampler(ITEMS)
    factor = torch.ones_like(features)
    factor[0, 4] = value
    (features * factor).sum().backward()
    assert sampler.last_index is not None
    assert sampler.last_index[0].tolist() == [4]
    assert not all(p.grad.isfinite().all() for p in sampler.parameters() if p.grad is not None)
