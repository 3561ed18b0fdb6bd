"""A report changes no state."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sgs import SequentialGradientSampler, equivalence_report
from tests.sgs.exactness.outcomes import ANYWHERE, Refused
from tests.sgs.exactness.settings import seed
from tests.sgs.kinds import KINDS

# The shape checker draws from Python's random: encoders would seem to draw random numbers.
pytestmark = pytest.mark.usefixtures("raw_errors")


def vectors() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(6, 6, dtype=torch.float64, generator=generator)


def wrap(encoder: nn.Module) -> SequentialGradientSampler:
    return SequentialGradientSampler(encoder.double(), micro_batch_size=4)


def layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 4)).double()


def found_in(encoder: nn.Module) -> dict[str, Any]:
    modules = dict(encoder.named_modules())
    tensors = {**dict(encoder.named_parameters()), **dict(encoder.named_buffers())}
    plain = (bool, int, float, str, type(None))
    held = {f"{n}.{k}": v for n, m in modules.items() for k, v in vars(m).items()}
    return {
        "identity": {n: id(x) for n, x in tensors.items()},
        "value": {n: x.detach().clone().tolist() for n, x in tensors.items()},
        "grad": {n: None if x.grad is None else x.grad.tolist() for n, x in tensors.items()},
        "attributes": {n: v for n, v in held.items() if isinstance(v, plain)},
        "names": {n: sorted(vars(m)) for n, m in modules.items()},
        "generators": {
            n: v.get_state().tolist() for n, v in held.items() if isinstance(v, torch.Generator)
        },
        "torch": torch.get_rng_state().tolist(),
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002
    }


def prepared(name: str) -> nn.Module:
    encoder = KINDS[name].make()
    for number, parameter in enumerate(encoder.parameters()):
        if number % 2 and parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, 0.5)
    seed()
    return encoder


def test_mode_is_put_back_where_the_encoder_changes_it() -> None:
    class Switches(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            self.eval()
            return super().forward(items)

    encoder = nn.Sequential(Switches(6, 4), nn.Dropout(0.5))
    equivalence_report(wrap(encoder), vectors())
    assert [module.training for module in encoder.modules()] == [True] * 3


@pytest.mark.parametrize("name", KINDS)
def test_report_leaves_all_as_it_was_found(name: str) -> None:
    encoder = prepared(name)
    before = found_in(encoder)
    try:
        equivalence_report(wrap(encoder), **KINDS[name].items(6))
    except RuntimeError:
        assert isinstance(ANYWHERE.get(name), Refused)
    after = found_in(encoder)
    assert [key for key in before if before[key] != after[key]] == []


def test_a_changed_encoder_is_noticed() -> None:
    """The negative control of the one above."""
    for name, expected in (("spectral_norm", "value"), ("counter_attribute", "attributes")):
        encoder = prepared(name)
        before = found_in(encoder)
        encoder(**KINDS[name].items(6))
        assert before[expected] != found_in(encoder)[expected]


def test_hooks_of_parameters_are_not_called() -> None:
    encoder, called = layers(), []
    optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in encoder.parameters()}

    def step(parameter: Tensor) -> None:
        called.append(parameter)
        optimizers[parameter].step()

    for parameter in optimizers:
        parameter.register_post_accumulate_grad_hook(step)
        parameter.register_hook(called.append)
    before = [p.detach().clone() for p in optimizers]
    assert equivalence_report(wrap(encoder), vectors()).is_exact
    assert not called
    assert all(torch.equal(a, b) for a, b in zip(before, optimizers, strict=True))
    # The negative control: the hooks are there.
    encoder(vectors()).sum().backward()
    assert len(called) == 8


def test_modules_upstream_of_the_items_get_no_gradient() -> None:
    upstream = nn.Linear(6, 6).double()
    items = upstream(vectors())
    report = equivalence_report(wrap(layers()), items)
    assert report.is_exact
    assert report.rows[-1].name == "args[0]"
    assert upstream.weight.grad is None
    items.sum().backward()
    assert upstream.weight.grad is not None
