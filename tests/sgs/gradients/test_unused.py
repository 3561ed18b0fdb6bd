"""Parameters that get no gradient."""

import torch
from torch import Tensor, nn

from samplers import Grid
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


def test_parameters_of_unsampled_items_get_none() -> None:
    """They cannot be told from those that no item uses, which get None in the naive graph, too."""
    encoder = Experts()
    items = torch.tensor([[-1.0], [1.0]] * 2)
    encoder(items).sum().backward()
    assert encoder.low.weight.grad is not None
    sampler = SequentialGradientSampler(
        encoder, micro_batch_size=1, ratio=0.5, sampler=Grid(random_phase=False), weights="none"
    )
    found = gradients(sampler, items)
    used = {name for name, gradient in found.items() if gradient is not None}
    assert used in ({"low.weight", "low.bias"}, {"high.weight", "high.bias"})
