"""The undetected cases of docs/exactness.md, with the sampler and in naive training."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from sgs import SequentialGradientSampler, freeze_batch_norm
from tests.sgs.encoders import tried


def sampler_of(encoder: nn.Module, **options: object) -> nn.Module:
    return tried(SequentialGradientSampler(encoder, micro_batch_size=2, **options))


# The shape checker draws from Python's random, which counts as drawn by the encoder.
@pytest.mark.usefixtures("raw_errors")
def test_losses_kept_on_modules_have_no_graph() -> None:
    class Auxiliary(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            output = super().forward(items)
            self.loss = output.square().mean()
            return output

    encoder, items = Auxiliary(3, 4), torch.randn(6, 3)
    encoder(items)
    assert encoder.loss.requires_grad
    sampler_of(encoder)(items)
    assert not encoder.loss.requires_grad


def test_activations_collected_by_hooks_have_no_graph() -> None:
    encoder, collected = nn.Sequential(nn.Linear(3, 4), nn.Tanh()), []
    encoder[0].register_forward_hook(lambda module, args, output: collected.append(output))
    sampler_of(encoder)(torch.randn(6, 3))
    assert [(len(x), x.requires_grad) for x in collected] == [(2, False)] * 3


def test_module_hooks_are_called_per_micro_batch_of_either_pass() -> None:
    encoder, calls = nn.Linear(3, 4), []
    encoder.register_forward_hook(lambda *_: calls.append("forward"))
    encoder.register_full_backward_hook(lambda *_: calls.append("backward"))
    sampler_of(encoder)(torch.randn(6, 3, requires_grad=True)).sum().backward()
    assert calls == ["forward"] * 3 + ["forward", "backward"] * 3


def test_what_backward_hooks_write_to_modules_is_lost() -> None:
    encoder, items = nn.Linear(3, 4), torch.randn(6, 3, requires_grad=True)
    encoder.register_full_backward_hook(lambda module, *_: setattr(module, "was_called", True))
    sampler_of(encoder)(items).sum().backward()
    assert not hasattr(encoder, "was_called")
    encoder(items).sum().backward()
    assert encoder.was_called


def test_hooks_of_unused_parameters_are_called_with_none() -> None:
    class Unused(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 4)
            self.unused = nn.Parameter(torch.zeros(3))

    encoder, seen = Unused(), []
    encoder.unused.register_hook(lambda gradient: seen.append(gradient))
    encoder(torch.randn(6, 3)).sum().backward()
    assert seen == []
    sampler_of(encoder)(torch.randn(6, 3)).sum().backward()
    assert seen == [None]


def test_caches_outside_of_modules_keep_values_without_a_graph() -> None:
    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = (nn.Parameter(torch.randn(3, 3)) for _ in range(2))
            self.product = cache(lambda: self.left @ self.right)

        def forward(self, items: Tensor) -> Tensor:
            return items @ self.product()

    encoder = Cached()
    features = sampler_of(encoder)(torch.randn(6, 3))
    features.sum().backward()
    assert encoder.left.grad is None


def test_counters_outside_of_modules_go_on() -> None:
    class Schedule:
        def __init__(self) -> None:
            self.num_calls, self.owner = 0, self

    class Scheduled(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 4)
            self.schedule = Schedule()

        def forward(self, items: Tensor) -> Tensor:
            self.schedule.num_calls += 1
            output = super().forward(items)
            return output if self.schedule.num_calls <= 3 else output.detach() + 0 * output

    encoder = Scheduled()
    sampler_of(encoder)(torch.randn(6, 3)).sum().backward()
    assert encoder.schedule.num_calls == 6
    assert not encoder.weight.grad.any()


def test_two_calls_before_one_backward_share_no_cached_weight() -> None:
    class Caches(nn.Linear):
        product: Tensor | None = None

        def forward(self, items: Tensor) -> Tensor:
            if self.product is None:
                self.product = self.weight * self.weight
            return items @ self.product.T

    encoder, items = Caches(3, 4), torch.ones(6, 3)
    sampler = sampler_of(encoder)
    (sampler(items) + sampler(items)).sum().backward()
    # Of the first call alone: the second one found what it had left.
    torch.testing.assert_close(encoder.weight.grad, 6 * 2 * encoder.weight.detach())


def test_recurrent_layers_iterate_their_weights_another_number_of_times() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = nn.LSTM(4, 3, batch_first=True)
            nn.utils.parametrizations.spectral_norm(self.recurrent, "weight_hh_l0")

        def forward(self, items: Tensor) -> Tensor:
            return self.recurrent(items)[0].mean(dim=1)

    def made() -> Recurrent:
        torch.manual_seed(0)
        return Recurrent().double()

    encoder, direct, items = made(), made(), torch.randn(6, 5, 4, dtype=torch.float64)
    (expected,) = torch.autograd.grad(direct(items).sum(), direct.recurrent.weight_ih_l0)
    sampler_of(encoder, check_replay=1e-3)(items).sum().backward()
    error = (encoder.recurrent.weight_ih_l0.grad - expected).abs().max() / expected.abs().max()
    assert 1e-12 < error < 1e-3


def test_state_that_only_a_later_micro_batch_changes_stands() -> None:
    class Later(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 4)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, items: Tensor) -> Tensor:
            if bool((items > 0).all()):
                self.seen.data.add_(1)
            return super().forward(items)

    encoder = Later()
    items = torch.tensor([-1.0, -1.0, 1.0, 1.0, 1.0, 1.0])[:, None].expand(6, 3)
    sampler_of(encoder)(items).sum().backward()
    assert encoder.seen == 2


def test_edits_of_data_between_the_passes_pass_below_the_tolerance() -> None:
    encoder, items = nn.Linear(3, 4), torch.ones(6, 3)
    for factor in (1 + 1e-6, 1.1):
        loss = sampler_of(encoder)(items).sum()
        encoder.weight.data.mul_(factor)
        try:
            loss.backward()
        except RuntimeError:
            assert factor == 1.1
        else:
            assert factor != 1.1


def test_trained_tensors_that_are_no_parameters_get_their_gradient_past_the_graph() -> None:
    prompt = torch.zeros(4, requires_grad=True)

    class Prompted(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            return super().forward(items) + prompt

    encoder = Prompted(3, 4)
    loss = sampler_of(encoder)(torch.randn(6, 3)).sum()
    torch.autograd.grad(loss, encoder.weight)
    assert torch.equal(prompt.grad, torch.full((4,), 6.0))


# Warnings of torch's rules for forward mode.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_forward_mode_derivatives_end_at_the_sampler() -> None:
    encoder = nn.Linear(3, 4).requires_grad_(False)
    with forward_ad.dual_level():
        items = forward_ad.make_dual(torch.randn(6, 3), torch.ones(6, 3))
        assert forward_ad.unpack_dual(encoder(items)).tangent is not None
        assert forward_ad.unpack_dual(sampler_of(encoder)(items)).tangent is None


def test_reentrant_checkpoints_around_the_sampler_draw_the_subset_only_when_recomputing() -> None:
    stem, items = nn.Linear(3, 3), torch.randn(6, 3)
    sampler = sampler_of(nn.Linear(3, 4), ratio=0.5)
    features = checkpoint(sampler, stem(items), use_reentrant=True)
    assert sampler.last_index is None
    features.sum().backward()
    assert len(sampler.last_index) == 3


class Tokens(nn.Module):
    """Normalised maps as tokens."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4)).double().eval()

    def forward(self, maps: Tensor) -> Tensor:
        return self.layers(maps).flatten(2).transpose(1, 2)


def test_batch_norm_in_eval_mode_is_wrong_for_single_maps_that_become_tokens() -> None:
    """torch's CPU kernel is, without the sampler too. The sampler avoids them where it can."""
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(4, 2, 3, 5, dtype=torch.float64, generator=generator)
    weight = torch.randn(4, 15, 4, dtype=torch.float64, generator=generator)

    def gradient(encoder: nn.Module, features: Tensor) -> Tensor:
        return torch.autograd.grad((features * weight).sum(), encoder.layers[0].weight)[0]

    encoder = Tokens()
    expected = gradient(encoder, encoder(maps))
    one_by_one = gradient(encoder, torch.cat([encoder(item) for item in maps.split(1)]))
    assert (one_by_one - expected).abs().max() > 0.1
    for size, wrong in ((1, True), (3, False)):
        sampler = SequentialGradientSampler(encoder, micro_batch_size=size)
        assert (gradient(encoder, sampler(maps)) - expected).abs().max().gt(0.1) == wrong
    sampler = SequentialGradientSampler(freeze_batch_norm(encoder), micro_batch_size=1)
    torch.testing.assert_close(gradient(encoder, sampler(maps)), expected)
