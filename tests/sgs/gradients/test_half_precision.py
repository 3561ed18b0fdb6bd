"""Many micro-batches in half precision: their gradients are added up in float32."""

import pytest
import torch
from torch import Tensor, nn

from sgs import SequentialGradientSampler, Shared
from tests.reference import relative_error

NUM_ITEMS = 1024


class Shift(nn.Module):
    """Items times a weight, plus a bias and a shared tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, items: Tensor, shift: Tensor) -> Tensor:
        return self.linear(items) + shift


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_gradients_do_not_stop_growing(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    encoder, items = Shift().to(dtype), torch.rand(NUM_ITEMS, 3).to(dtype)
    shift = torch.zeros(4, dtype=dtype, requires_grad=True)
    found = []
    sampler = SequentialGradientSampler(encoder, micro_batch_size=1)
    for features in (lambda: sampler(items, Shared(shift)), lambda: encoder(items, shift)):
        encoder.zero_grad()
        shift.grad = None
        features().sum().backward()
        found.append([shift.grad, *(p.grad for p in encoder.parameters())])
    for ours, direct in zip(*found, strict=True):
        assert ours.dtype == dtype
        # The error of one rounding. Summed in bfloat16, the bias would stop at 256.
        assert relative_error(ours.double(), direct.double()) <= torch.finfo(dtype).eps
    assert torch.equal(encoder.linear.bias.grad, torch.full((4,), float(NUM_ITEMS), dtype=dtype))


def test_gradients_in_float32_keep_their_memory() -> None:
    """No second copy where `.grad` is precise enough."""
    encoder = nn.Linear(3, 4)
    SequentialGradientSampler(encoder, micro_batch_size=1)(torch.rand(5, 3)).sum().backward()
    assert torch.allclose(encoder.bias.grad, torch.full((4,), 5.0))
