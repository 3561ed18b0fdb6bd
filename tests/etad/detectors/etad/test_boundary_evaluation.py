import torch
from torch import nn

from examples.etad.detectors.etad.boundary_evaluation import BoundaryEvaluation
from examples.etad.detectors.etad.config import DetectorConfig


def test_the_first_channel_is_startness_and_the_second_endness(generator: torch.Generator) -> None:
    boundary = BoundaryEvaluation(DetectorConfig(hidden_channels=32))
    nn.init.zeros_(boundary.layers[-1].weight)
    boundary.layers[-1].bias.data.copy_(torch.tensor([1.0, 2.0]))
    startness, endness = boundary(torch.randn(2, 32, 5, generator=generator))
    assert startness.tolist() == [[1.0] * 5] * 2
    assert endness.tolist() == [[2.0] * 5] * 2


def test_a_snippet_sees_its_neighbours_only(generator: torch.Generator) -> None:
    boundary = BoundaryEvaluation(DetectorConfig(hidden_channels=32))
    features = torch.randn(1, 32, 9, generator=generator, requires_grad=True)
    startness, _ = boundary(features)
    (gradient,) = torch.autograd.grad(startness[0, 4], features)
    assert gradient[0].abs().sum(dim=0).nonzero().flatten().tolist() == [3, 4, 5]
