"""BatchNorm couples items: refused, frozen, or accepted on purpose."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import permutations, product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgs import SequentialGradientSampler, freeze_batch_norm
from tests.reference import assert_same, coupling_loss, gradients_of, run

NUM_ITEMS = 8


def encoder() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        norm = nn.BatchNorm3d(4)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        layers = nn.Sequential(nn.Conv3d(2, 4, 3), nn.Sequential(norm, nn.ReLU()), nn.Flatten())
        return layers.double()


def items() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(NUM_ITEMS, 2, 3, 4, 4, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("grad_enabled", [True, False])
def test_train_mode_batch_norm_is_rejected_with_reason(grad_enabled: bool) -> None:
    sampler = SequentialGradientSampler(encoder(), micro_batch_size=4)
    with (
        torch.set_grad_enabled(grad_enabled),
        pytest.raises(ValueError, match=r"'1.0' \(BatchNorm3d\) normalise.*freeze_batch_norm"),
    ):
        sampler(items())


def test_batch_norm_without_running_statistics_is_rejected_in_eval_mode_too() -> None:
    layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False)).eval()
    with pytest.raises(ValueError, match=r"'1' \(BatchNorm1d\) normalise"):
        SequentialGradientSampler(layers, micro_batch_size=4)(torch.randn(8, 3))


def test_all_offending_layers_are_named() -> None:
    layers = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4), nn.BatchNorm1d(4))
    with pytest.raises(ValueError, match=r"'0' \(BatchNorm1d\), '2' \(BatchNorm1d\)"):
        SequentialGradientSampler(layers, micro_batch_size=4)(torch.randn(8, 3))


def test_eval_mode_batch_norm_is_exact() -> None:
    layers = encoder().eval()
    expected = run(layers, lambda: layers(items()))[1]
    sampler = SequentialGradientSampler(layers, micro_batch_size=3)
    assert_same(run(layers, lambda: sampler(items()))[1], expected)


@pytest.mark.parametrize("freeze_affine", [True, False])
def test_frozen_batch_norm_is_exact_and_outlasts_train(freeze_affine: bool) -> None:
    direct = encoder().eval()
    layers = freeze_batch_norm(encoder(), freeze_affine=freeze_affine).train()
    expected = run(direct, lambda: direct(items()))[1]
    if freeze_affine:
        expected |= {"1.0.weight": None, "1.0.bias": None}
    statistics = layers[1][0].running_mean.clone()
    sampler = SequentialGradientSampler(layers, micro_batch_size=3)
    assert_same(run(layers, lambda: sampler(items()))[1], expected)
    assert torch.equal(layers[1][0].running_mean, statistics)


def layer_and_maps(
    dtype: torch.dtype = torch.float64, *, freeze_affine: bool = True, **options: bool
) -> tuple[Any, Tensor]:
    """Return a frozen layer and two items of 3 channels that require their gradient."""
    norm = nn.BatchNorm2d(3, **options).to(dtype)
    with torch.no_grad():
        for number, values in enumerate((*norm.parameters(), *norm.buffers())):
            if values.is_floating_point():
                values.uniform_(0.5, 2, generator=torch.Generator().manual_seed(number))
    maps = torch.randn(2, 3, 4, 5, dtype=dtype, generator=torch.Generator().manual_seed(9))
    return freeze_batch_norm(norm, freeze_affine=freeze_affine), maps.requires_grad_()


def torchs_own(layer: Any, maps: Tensor) -> Tensor:
    values = layer.running_mean, layer.running_var, layer.weight, layer.bias
    return F.batch_norm(maps, *values, eps=layer.eps)


def numbers_kept(layer: Callable[[Tensor], Tensor], maps: Tensor) -> int:
    """Return how many numbers autograd saves for the backward."""
    kept: list[int] = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, id)
    with hooks:
        layer(maps)
    return sum(kept)


@pytest.mark.parametrize("affine", [True, False])
def test_frozen_batch_norm_computes_what_torch_does(affine: bool) -> None:
    layer, maps = layer_and_maps(affine=affine)
    ours, theirs = layer(maps), torchs_own(layer, maps)
    assert torch.equal(ours, theirs)
    weight = torch.randn(ours.shape, dtype=ours.dtype)
    torch.testing.assert_close(
        torch.autograd.grad(ours, maps, weight),
        torch.autograd.grad(theirs, maps, weight),
        rtol=1e-14,
        atol=0,
    )


def test_frozen_batch_norm_keeps_no_maps_for_the_backward() -> None:
    layer, maps = layer_and_maps()
    assert numbers_kept(layer, maps) <= 4 * 3
    # The saving needs both: torch's own layer saves its input, and so does a trained scale.
    assert numbers_kept(partial(torchs_own, layer), maps) >= maps.numel()
    trained, maps = layer_and_maps(freeze_affine=False)
    assert numbers_kept(trained, maps) == numbers_kept(partial(torchs_own, trained), maps)


def strided(shape: tuple[int, ...], order: tuple[int, ...], seed: int) -> Tensor:
    """Return numbers whose dimensions lie in memory in this order."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [shape[dim] for dim in order]
    numbers = torch.randn(sizes, dtype=torch.float64, generator=generator)
    return numbers.permute([order.index(dim) for dim in range(len(order))])


@pytest.mark.parametrize("freeze_affine", [True, False])
@pytest.mark.parametrize("shape", [(1, 3, 2, 4), (2, 3, 4, 1), (1, 3, 1, 2, 1), (2, 3, 4), (0, 3)])
def test_frozen_batch_norm_is_right_in_every_layout(
    shape: tuple[int, ...], freeze_affine: bool
) -> None:
    """torch's own kernel is wrong in some, see the limits in docs/exactness.md."""
    layer, _ = layer_and_maps(freeze_affine=freeze_affine)
    inputs = [x for x in (layer.weight, layer.bias) if x.requires_grad]
    column = (-1, *[1] * (len(shape) - 2))
    orders = list(permutations(range(len(shape))))[:: 5 if len(shape) == 5 else 1]
    for of_maps, of_gradient in product(orders, orders):
        maps = strided(shape, of_maps, 0).requires_grad_()
        gradient = strided(shape, of_gradient, 1)
        factor = (layer.running_var + layer.eps).rsqrt() * layer.weight
        normalised = (maps - layer.running_mean.view(column)) * factor.view(column)
        expected = normalised + layer.bias.view(column)
        torch.testing.assert_close(
            torch.autograd.grad(layer(maps), [maps, *inputs], gradient),
            torch.autograd.grad(expected, [maps, *inputs], gradient),
            rtol=1e-12,
            atol=1e-12,
        )


def test_trained_frozen_batch_norm_keeps_channels_last_and_is_no_view() -> None:
    """A view would slow an activation in place; another layout would slow what comes next."""
    layer, maps = layer_and_maps(freeze_affine=False)
    assert not layer(maps)._is_view()
    assert layer(maps).is_contiguous()
    maps = maps.to(memory_format=torch.channels_last)
    assert layer(maps).is_contiguous(memory_format=torch.channels_last)


# Its forward derivative is compiled by what torch itself calls deprecated.
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("freeze_affine", [True, False])
def test_frozen_batch_norm_can_be_differentiated_twice_and_per_item(freeze_affine: bool) -> None:
    layer, maps = layer_and_maps(freeze_affine=freeze_affine)
    assert torch.autograd.gradcheck(
        layer, maps, check_batched_grad=True, check_forward_ad=not freeze_affine
    )
    assert torch.autograd.gradgradcheck(lambda x: layer(x).square(), maps)
    per_item = torch.func.vmap(torch.func.grad(lambda item: layer(item[None]).square().sum()))
    (expected,) = torch.autograd.grad(torchs_own(layer, maps).square().sum(), maps)
    torch.testing.assert_close(per_item(maps.detach()), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_trained_frozen_batch_norm_computes_what_torch_does_in_half(dtype: torch.dtype) -> None:
    layer, _ = layer_and_maps(torch.float32, freeze_affine=False)
    maps = layer_and_maps(dtype)[1]
    inputs = maps, layer.weight, layer.bias
    ours, theirs = layer(maps), torchs_own(layer, maps)
    assert torch.equal(ours, theirs)
    found, expected = (torch.autograd.grad(x, inputs, theirs.detach()) for x in (ours, theirs))
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_frozen_batch_norm_in_single_precision_takes_maps_in_half(dtype: torch.dtype) -> None:
    layer, _ = layer_and_maps(torch.float32)
    maps = layer_and_maps(dtype)[1]
    gradient = torch.randn(maps.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    (found,) = torch.autograd.grad(layer(maps), maps, gradient)
    factor = layer.weight.double() / (layer.running_var.double() + layer.eps).sqrt()
    expected = gradient.double() * factor[:, None, None]
    assert found.dtype == dtype
    # Rounded once: a second rounding, of the factor, would double the error.
    torch.testing.assert_close(
        found.double(), expected, rtol=0.51 * torch.finfo(dtype).eps, atol=1e-7
    )


COMPILED = """
import torch
from torch import nn
from sgs import freeze_batch_norm

layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
freeze_batch_norm(layers[:2])
freeze_batch_norm(layers[2:], freeze_affine=False)
compiled = torch.compile(layers, backend="aot_eager", fullgraph=True)
items = torch.randn(2, 3, 4, 5)
got, expected = (
    torch.autograd.grad(f(items).square().sum(), layers[0].weight)[0] for f in (compiled, layers)
)
torch.testing.assert_close(got, expected)
"""


def test_frozen_batch_norm_compiles_into_one_graph() -> None:
    # In another process: the shapes of annotations are checked in this one, by what does not
    # compile.
    subprocess.run([sys.executable, "-c", COMPILED], check=True)


def test_freezing_keeps_parameters_checkpoints_and_copies() -> None:
    layers = encoder()
    parameters, state = list(layers.parameters()), copy.deepcopy(layers.state_dict())
    frozen = freeze_batch_norm(layers)
    assert frozen is layers
    assert all(a is b for a, b in zip(frozen.parameters(), parameters, strict=True))
    frozen.load_state_dict(state)
    encoder().load_state_dict(copy.deepcopy(frozen).state_dict())


def test_freezing_a_bare_layer_returns_its_replacement() -> None:
    assert type(freeze_batch_norm(nn.BatchNorm1d(3))).__name__ == "FrozenBatchNorm"


def test_freezing_without_statistics_is_refused() -> None:
    layers = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))
    with pytest.raises(ValueError, match=r"layers \['0'\] keep no running statistics"):
        freeze_batch_norm(layers)


def test_accepted_batch_norm_repeats_its_micro_batches_and_updates_statistics_once() -> None:
    layers, direct = encoder(), encoder()
    sampler = SequentialGradientSampler(layers, micro_batch_size=4, allow_batch_norm=True)
    expected = run(direct, lambda: torch.cat([direct(part) for part in items().split(4)]))[1]
    assert_same(run(layers, lambda: sampler(items()))[1], expected)
    for ours, theirs in zip(layers.buffers(), direct.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert layers[1][0].num_batches_tracked == 2


def test_accepted_batch_norm_differs_from_one_direct_call() -> None:
    """The reason for the refusal: without it, the gradients are wrong."""
    layers, direct = encoder(), encoder()
    sampler = SequentialGradientSampler(layers, micro_batch_size=4, allow_batch_norm=True)
    expected = run(direct, lambda: direct(items()))[1]
    with pytest.raises(AssertionError, match="relative error"):
        assert_same(run(layers, lambda: sampler(items()))[1], expected, rtol=1e-2)


def test_accepted_batch_norm_repeats_whole_micro_batches_for_an_own_index() -> None:
    layers, direct = encoder(), encoder()
    encoded = SequentialGradientSampler(layers, micro_batch_size=4, allow_batch_norm=True).encode(
        items()
    )
    index = torch.tensor([1, 2])
    coupling_loss(encoded.features).backward()
    encoded.backward(encoded.features.grad, index)
    gradient = torch.zeros(4, *encoded.features.shape[1:], dtype=torch.float64)
    gradient[index] = encoded.features.grad[index]
    direct(items()[:4]).backward(gradient)
    assert_same(gradients_of(layers), gradients_of(direct))


class NormAndActivation(nn.BatchNorm2d):
    """A derived layer that does more, as timm's `BatchNormAct2d` does."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Dropout(0.5), nn.PReLU()

    def forward(self, maps: Tensor) -> Tensor:
        statistics = self.running_mean, self.running_var
        values = self.weight, self.bias, self.training, self.momentum, self.eps
        return self.act(self.drop(F.batch_norm(maps, *statistics, *values)))


def derived() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv2d(2, 4, 1), NormAndActivation(4), nn.Flatten()).double()
        layers(torch.randn(5, 2, 3, 3, dtype=torch.float64))  # sets the statistics
    return layers


def test_derived_layers_are_frozen_and_keep_what_they_do() -> None:
    direct, layers = derived(), derived()
    keys = list(layers.state_dict())
    assert freeze_batch_norm(layers).train() is layers
    norm = layers[1]
    assert isinstance(norm, NormAndActivation)
    assert list(layers.state_dict()) == keys
    assert (norm.training, norm.drop.training) == (False, True)
    assert [norm.weight.requires_grad, norm.bias.requires_grad] == [False, False]
    assert norm.act.weight.requires_grad
    norm.drop.eval()
    direct.eval()
    maps = items()[..., 0]
    expected = run(direct, lambda: direct(maps))[1] | {"1.weight": None, "1.bias": None}
    sampler = SequentialGradientSampler(layers, micro_batch_size=3)
    assert_same(run(layers, lambda: sampler(maps))[1], expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_frozen_derived_layers_can_be_copied_and_frozen_again(copied: Any) -> None:
    layers = freeze_batch_norm(freeze_batch_norm(derived(), freeze_affine=False))
    other = copied(layers).train()
    assert type(other[1]) is type(layers[1])
    assert type(other[1]).__mro__.count(NormAndActivation) == 1
    assert not other[1].training
    assert other[1].weight is not layers[1].weight
    assert torch.equal(other.eval()(items()[..., 0]), layers.eval()(items()[..., 0]))


def test_layers_with_hooks_are_frozen_and_keep_them() -> None:
    norm = nn.BatchNorm1d(4)
    norm.register_forward_hook(lambda module, args, output: output * 0 + 7)
    layers = freeze_batch_norm(nn.Sequential(norm)).train()
    assert not layers[0].training
    assert (layers(torch.randn(2, 4)) == 7).all()


def test_freezing_what_would_not_last_is_refused() -> None:
    parametrized = nn.utils.parametrizations.weight_norm(nn.BatchNorm1d(4), dim=None)
    layers = nn.Sequential(nn.BatchNorm1d(4), parametrized)
    with pytest.raises(ValueError, match=r"the layers \['1'\] are parametrized: removing"):
        freeze_batch_norm(layers)
    with pytest.raises(ValueError, match=r"the layers \['0'\] have no values yet. Call the enc"):
        freeze_batch_norm(nn.Sequential(nn.LazyBatchNorm1d()))
    assert type(layers[0]) is nn.BatchNorm1d
    assert layers[0].weight.requires_grad


def test_layer_under_two_names_is_replaced_under_both() -> None:
    norm = nn.BatchNorm1d(4)
    layers = freeze_batch_norm(nn.Sequential(norm, nn.ReLU(), norm))
    assert layers[0] is layers[2]
    SequentialGradientSampler(layers, micro_batch_size=2)(torch.randn(6, 4))


def test_frozen_parameters_stay_frozen() -> None:
    layers = nn.Sequential(nn.BatchNorm1d(4).requires_grad_(False))
    assert not freeze_batch_norm(layers, freeze_affine=False)[0].weight.requires_grad
