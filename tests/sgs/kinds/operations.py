"""Encoders with operations that treat gradients, or the items themselves, in a way of their own."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from tests.sgs.kinds.arguments import INPUT, SEQUENCES, VECTORS, sequences_and_padding
from tests.sgs.kinds.kind import Kind


class Sine(torch.autograd.Function):
    """A function with a backward pass of its own, half of the true one."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.sin()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        return 0.5 * gradient * values.cos()


class CustomFunction(nn.Module):
    """A custom function between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 5)
        self.second = nn.Linear(5, 4)

    def forward(self, items: Tensor) -> Tensor:
        return self.second(Sine.apply(self.first(items)))


class Fourier(nn.Module):
    """A filter of complex frequencies, and a contraction over three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(3, 4))
        self.mixing = nn.Parameter(torch.randn(5, 4, 3))

    def forward(self, items: Tensor) -> Tensor:
        filtered = torch.fft.irfft(torch.fft.rfft(items, dim=1) * self.filter, n=5, dim=1)
        return torch.einsum("ntc,tcd->nd", filtered, self.mixing)


class ScaledDotProduct(nn.Module):
    """The fused attention of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4, 12)

    def forward(self, items: Tensor) -> Tensor:
        query, key, value = self.project(items).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(query, key, value).flatten(1)


class PaddedAttention(nn.Module):
    """Attention that ignores the padding of each item."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, items: Tensor, padding: Tensor) -> Tensor:
        outputs = self.layers(items, src_key_padding_mask=padding)
        return outputs.masked_fill(padding[..., None], 0).sum(dim=1)


class Ensemble(nn.Module):
    """The stacked weights of three layers, mapped over by torch.vmap."""

    def __init__(self) -> None:
        super().__init__()
        stacked, _ = stack_module_state([nn.Linear(6, 4) for _ in range(3)])
        self.stacked = nn.ParameterDict({n: x.detach() for n, x in stacked.items()})
        self.call = partial(functional_call, nn.Linear(6, 4, device="meta"))

    def forward(self, items: Tensor) -> Tensor:
        outputs = torch.vmap(lambda weights: self.call(weights, (items,)))(dict(self.stacked))
        return outputs.tanh().mean(dim=0)


class Swapped(nn.Module):
    """A layer run with weights that are computed from its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, items: Tensor) -> Tensor:
        weights = {name: weight.tanh() for name, weight in self.layer.named_parameters()}
        return functional_call(self.layer, weights, (items,))


class GradientOutput(nn.Module):
    """Features that are the gradient of an energy with respect to the items."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))

    def forward(self, items: Tensor) -> Tensor:
        with torch.enable_grad():
            items = items.clone().requires_grad_()
            return torch.autograd.grad(self.energy(items).sum(), items, create_graph=True)[0]


class FakeQuantised(nn.Module):
    """A matrix rounded to 8 bits, whose gradient passes straight through the rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, items: Tensor) -> Tensor:
        weight = torch.fake_quantize_per_tensor_affine(self.linear.weight, 0.002, 0, -128, 127)
        return F.linear(items, weight, self.linear.bias).tanh()


def in_place_on_items() -> nn.Module:
    return nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 5), nn.ReLU(inplace=True))


OPERATIONS = {
    "in_place_on_items": Kind(in_place_on_items, INPUT),
    "custom_function": Kind(CustomFunction, VECTORS),
    "fourier": Kind(Fourier, SEQUENCES),
    "scaled_dot_product": Kind(ScaledDotProduct, SEQUENCES),
    "padded_attention": Kind(PaddedAttention, sequences_and_padding),
    "ensemble": Kind(Ensemble, VECTORS),
    "swapped_weights": Kind(Swapped, VECTORS),
    "fake_quantised": Kind(FakeQuantised, VECTORS),
    "gradient_output": Kind(GradientOutput, VECTORS),
}
