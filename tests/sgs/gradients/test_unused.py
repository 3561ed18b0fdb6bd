"""Parameters that get no gradient: None or zeros."""

import pytest
import torch
from torch import Tensor, nn

from sgs import SequentialGradientSampler


class Experts(nn.Module):
    """Two experts, one for items below zero and one for the others, and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high, self.unused = (nn.Linear(1, 1) for _ in range(3))

    def forward(self, items: Tensor) -> Tensor:
        parts = [(self.low if float(item) < 0 else self.high)(item) for item in items]
        return torch.stack(parts)


def gradients(sampler: SequentialGradientSampler, items: Tensor) -> dict[str, Tensor | None]:
    sampler.zero_grad()
    sampler(items).sum().backward()
    return {name: p.grad for name, p in sampler.encoder.named_parameters()}


@pytest.mark.parametrize("trains_before", [False, True])
def test_parameters_of_unsampled_items_get_zeros_once_they_were_trained(
    trains_before: bool,
) -> None:
    sampler = SequentialGradientSampler(
        Experts(), micro_batch_size=1, ratio=0.5, weights="none", check_replay=False
    )
    low, high = -torch.ones(4, 1), torch.ones(4, 1)
    if trains_before:
        gradients(sampler, low)
    found = gradients(sampler, high)
    assert found["high.weight"] == 2
    assert (found["low.weight"] is not None) == trains_before
    assert not trains_before or found["low.weight"] == 0
    assert found["unused.weight"] is None


def test_at_full_ratio_they_get_none_as_in_the_naive_graph() -> None:
    sampler = SequentialGradientSampler(Experts(), micro_batch_size=1)
    gradients(sampler, -torch.ones(4, 1))
    assert gradients(sampler, torch.ones(4, 1))["low.weight"] is None
