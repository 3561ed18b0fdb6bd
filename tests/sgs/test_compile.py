"""torch.compile around the sampler: the call is not compiled, and the result is right."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from sgs import SequentialGradientSampler
from tests.reference import Gradients, assert_same, coupling_loss, gradients_of

# Warnings of torch about features that are passed on to compiled code.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


class Model(nn.Module):
    """A trained layer, the encoder and a head."""

    def __init__(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 6)
        self.encoder = wrap(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)))
        self.head = nn.Linear(4, 2)

    def forward(self, items: Tensor) -> Tensor:
        return self.head(self.encoder(self.stem(items)).tanh())


def sequential(encoder: nn.Module) -> nn.Module:
    return SequentialGradientSampler(encoder, micro_batch_size=4)


def model_of(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return Model(wrap).double()


def trained(model: nn.Module, step: Callable[[Tensor], object]) -> Gradients:
    items = torch.randn(16, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for _ in range(2):  # the second call runs what the first has compiled
        model.zero_grad()
        step(items)
    return {n.replace("encoder.encoder", "encoder"): g for n, g in gradients_of(model).items()}


@pytest.fixture
def expected() -> Gradients:
    model = model_of(lambda encoder: encoder)
    return trained(model, lambda items: coupling_loss(model(items)).backward())


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("encoder", ["eager", "compiled"])
def test_compiled_model_is_exact(encoder: str, expected: Gradients) -> None:
    model = model_of(sequential)
    if encoder == "compiled":
        model.encoder.encoder.compile(backend="aot_eager")
    compiled = torch.compile(model, backend="aot_eager")
    assert_same(trained(model, lambda items: coupling_loss(compiled(items)).backward()), expected)


def test_compiled_training_step_is_exact(expected: Gradients) -> None:
    model = model_of(sequential)

    def step(items: Tensor) -> Tensor:
        loss = coupling_loss(model(items))
        loss.backward()
        return loss

    assert_same(trained(model, torch.compile(step, backend="aot_eager")), expected)


def test_a_graph_that_must_be_whole_is_refused_by_torch() -> None:
    compiled = torch.compile(model_of(sequential), backend="aot_eager", fullgraph=True)
    with pytest.raises(RuntimeError, match=r"Sampler\.forward` should not be traced"):
        compiled(torch.randn(16, 6, dtype=torch.float64))
