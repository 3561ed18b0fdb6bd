"""Encoders that hold the same parameter, module or memory in several places, or in odd ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.sgs.kinds.arguments import VECTORS, tokens
from tests.sgs.kinds.kind import Kind


class TiedWeights(nn.Module):
    """One matrix used by two modules of the same kind."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, items: Tensor) -> Tensor:
        return self.second(self.first(items).tanh())


class SameModuleTwice(nn.Module):
    """One layer registered under two names, and called under both."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = self.first

    def forward(self, items: Tensor) -> Tensor:
        return self.second(self.first(items).tanh())


class Matrix(nn.Module):
    """A matrix by a name of its own."""

    def __init__(self, matrix: nn.Parameter) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, items: Tensor) -> Tensor:
        return items @ self.matrix


class SameParameterOtherName(nn.Module):
    """One parameter in modules of two classes, under two names, once transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(6, 4, bias=False)
        self.decode = Matrix(self.encode.weight)

    def forward(self, items: Tensor) -> Tensor:
        return self.decode(self.encode(items).tanh())


class ParameterContainers(nn.Module):
    """Parameters in a list and in a dict, reached by number and by key."""

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ParameterList([torch.randn(6), torch.randn(6)])
        self.shifts = nn.ParameterDict({"before": torch.randn(6), "after": torch.randn(6)})

    def forward(self, items: Tensor) -> Tensor:
        hidden = (items + self.shifts["before"]) * self.scales[0]
        return hidden.tanh() * self.scales[1] + self.shifts["after"]


class ConstantBuffers(nn.Module):
    """Buffers that the forward pass reads, one of them kept out of the state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.register_buffer("mean", torch.randn(6))
        self.register_buffer("mask", torch.tensor([1.0, 0, 1, 1]), persistent=False)

    def forward(self, items: Tensor) -> Tensor:
        return self.linear(items - self.mean) * self.mask


class ComplexParameter(nn.Module):
    """A complex matrix; the features are its real and imaginary parts."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4, dtype=torch.complex64))

    def to(self, dtype: torch.dtype) -> "ComplexParameter":
        """Keep the imaginary part, which the conversion of modules drops."""
        self.weight = nn.Parameter(self.weight.detach().to(dtype.to_complex()))
        return self

    def forward(self, items: Tensor) -> Tensor:
        return torch.view_as_real(items.to(self.weight.dtype) @ self.weight).flatten(1)


class ParameterInPlainList(nn.Module):
    """A registered parameter that the forward pass reads from a plain list, never by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.readout = [self.linear.weight]

    def to(self, dtype: torch.dtype) -> "ParameterInPlainList":
        super().to(dtype)
        self.readout = [self.linear.weight]
        return self

    def forward(self, items: Tensor) -> Tensor:
        return self.linear(items).tanh() + F.linear(items, self.readout[0])


class ViewsOfOneParameter(nn.Module):
    """One long parameter, cut into the matrices of all layers in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Parameter(torch.randn(6 * 5 + 5 * 4))

    def forward(self, items: Tensor) -> Tensor:
        first, second = self.flat.split([30, 20])
        return (items @ first.view(6, 5)).tanh() @ second.view(5, 4)


class SharedMemory(nn.Module):
    """Two parameters that are different objects with one memory."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(6, 6))
        self.second = nn.Parameter(self.first.detach())

    def to(self, dtype: torch.dtype) -> "SharedMemory":
        """Convert the memory once, so that both keep it."""
        super().to(dtype)
        self.second = nn.Parameter(self.first.detach())
        return self

    def forward(self, items: Tensor) -> Tensor:
        return (items @ self.first).tanh() @ self.second


class Tokens(nn.Module):
    """Integer items, looked up in a table of which few rows get a gradient."""

    def __init__(self, *, is_sparse: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4, padding_idx=0, sparse=is_sparse)
        self.linear = nn.Linear(4, 3)

    def forward(self, items: Tensor) -> Tensor:
        return self.linear(self.table(items).mean(dim=1).tanh())


class TiedTokens(nn.Module):
    """A table of tokens that is the matrix of the last layer too, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4)
        self.head = nn.Linear(4, 20, bias=False)
        self.head.weight = self.table.weight

    def forward(self, items: Tensor) -> Tensor:
        return self.head(self.table(items).mean(dim=1).tanh())


TOKENS = tokens(5, count=20)

SHARING = {
    "tied_weights": Kind(TiedWeights, VECTORS),
    "same_module_twice": Kind(SameModuleTwice, VECTORS),
    "same_parameter_other_name": Kind(SameParameterOtherName, VECTORS),
    "parameter_containers": Kind(ParameterContainers, VECTORS),
    "parameter_in_plain_list": Kind(ParameterInPlainList, VECTORS),
    "views_of_one_parameter": Kind(ViewsOfOneParameter, VECTORS),
    "shared_memory": Kind(SharedMemory, VECTORS),
    "constant_buffers": Kind(ConstantBuffers, VECTORS),
    "complex_parameter": Kind(ComplexParameter, VECTORS),
    "embedding": Kind(Tokens, TOKENS),
    "embedding_sparse": Kind(lambda: Tokens(is_sparse=True), TOKENS),
    "embedding_tied": Kind(TiedTokens, TOKENS),
}
