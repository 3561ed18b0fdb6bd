"""Both passes run from the same state: random numbers, autocast, mode, buffers."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sgs import SequentialGradientSampler, Shared
from sgs.call_history import CallHistory
from sgs.encoder_calls import EncoderCalls
from sgs.engine import TwoPasses
from sgs.gradients.parameters import CalledParameters
from sgs.micro_batches import MicroBatch
from sgs.replay.autocast import Autocast
from sgs.replay.random_numbers import RandomState
from sgs.replay.snapshot import LONGEST, Snapshot
from tests.reference import (
    RTOL,
    assert_same,
    coupling_loss,
    direct_features,
    gradients_of,
    relative_error,
    run,
)
from tests.sgs.encoders import ENCODERS, tried
from tests.sgs.kinds import KINDS

NUM_ITEMS = 10
GROUPS = list(torch.arange(NUM_ITEMS).split(4))


@contextmanager
def nothing_restored(self: object) -> Iterator[None]:
    yield


def dropout_gradients(**options: Any) -> tuple[dict[str, Tensor | None], dict[str, Tensor | None]]:
    case = ENCODERS["dropout"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    torch.manual_seed(2)
    expected = run(encoder, lambda: direct_features(encoder, items, groups=GROUPS))[1]
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4, **options)
    torch.manual_seed(2)
    return run(encoder, lambda: sampler(items))[1], expected


def test_dropout_masks_are_replayed() -> None:
    assert_same(*dropout_gradients())


def test_dropout_without_replay_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RandomState, "restored", nothing_restored)
    with pytest.raises(AssertionError, match="relative error"):
        assert_same(*dropout_gradients(check_replay=False))
    with pytest.raises(RuntimeError, match="the second pass computed other features"):
        dropout_gradients()


def test_caller_random_state_is_unchanged_by_the_backward() -> None:
    case = ENCODERS["dropout"]
    loss = coupling_loss(SequentialGradientSampler(case.make(), micro_batch_size=4)(case.items(9)))
    torch.manual_seed(7)
    before = torch.get_rng_state()
    loss.backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_only_the_states_that_were_drawn_from_are_kept() -> None:
    for name, copies in (("linear", 1), ("dropout", len(GROUPS))):
        case = ENCODERS[name]
        sampler = SequentialGradientSampler(case.make(), micro_batch_size=4)
        items = sampler.items_of(sampler.encoder, (case.items(NUM_ITEMS),), {})
        history = CallHistory(has_tried_items=True)
        calls = EncoderCalls(sampler.encoder, items, None, history, checks_items=False)
        TwoPasses(calls, micro_batch_size=4, couples_items=False, check_replay=True).encode(
            [MicroBatch(index, may_repeat=True) for index in GROUPS]
        )
        kept = [m.random_state for m in calls.encoded]
        # One state each, torch's; those of Python and NumPy are dropped.
        assert [len(state.states) for state in kept] == [1] * len(GROUPS)
        assert len({id(state) for state in kept}) == copies


def records_autocast() -> tuple[nn.Module, list[torch.dtype]]:
    """Return an encoder, and a list that records the dtypes of its outputs."""
    dtypes: list[torch.dtype] = []
    encoder = nn.Linear(6, 4)
    encoder.register_forward_hook(lambda module, args, output: dtypes.append(output.dtype))
    return encoder, dtypes


def autocast_gradients() -> tuple[dict[str, Tensor | None], dict[str, Tensor | None]]:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, 4))
    items = torch.randn(NUM_ITEMS, 6)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    results = []
    for features in (
        lambda: direct_features(encoder, items, groups=GROUPS),
        lambda: sampler(items),
    ):
        encoder.zero_grad()
        # With its cache of cast weights, one graph would sum their gradients in bfloat16.
        with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
            outputs = features()
        coupling_loss(outputs.float()).backward()
        results.append(gradients_of(encoder))
    return results[1], results[0]


def test_autocast_is_replayed_in_a_backward_outside_of_it() -> None:
    # The same micro-batches in bfloat16: only the order of summation in float32 differs.
    assert_same(*autocast_gradients(), rtol=1e-5)


def test_autocast_left_out_of_the_second_pass_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Autocast, "restored", nothing_restored)
    # Either the values differ, or autograd notices that the feature gradients have another dtype.
    with pytest.raises((AssertionError, RuntimeError), match=r"relative error|dtype"):
        assert_same(*autocast_gradients(), rtol=1e-5)


def test_both_passes_compute_in_the_callers_precision() -> None:
    encoder, dtypes = records_autocast()
    sampler = tried(SequentialGradientSampler(encoder, micro_batch_size=4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = sampler(torch.randn(8, 6))
    features.float().sum().backward()
    assert dtypes == [torch.bfloat16] * 4


def test_a_call_outside_autocast_stays_outside_when_the_backward_is_inside() -> None:
    encoder, dtypes = records_autocast()
    features = SequentialGradientSampler(encoder, micro_batch_size=8)(torch.randn(8, 6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features.sum().backward()
    assert dtypes == [torch.float32] * 2


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpoints_inside_the_encoder_are_exact(use_reentrant: bool) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 8)
            self.second = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.3), nn.Linear(8, 4))

        def forward(self, items: Tensor) -> Tensor:
            return checkpoint(self.second, self.first(items), use_reentrant=use_reentrant)

    torch.manual_seed(0)
    encoder, items = Checkpointed().double(), ENCODERS["linear"].items(NUM_ITEMS)
    torch.manual_seed(2)
    expected = run(encoder, lambda: direct_features(encoder, items, groups=GROUPS))[1]
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    torch.manual_seed(2)
    assert_same(run(encoder, lambda: sampler(items))[1], expected)


def test_grad_scaler_reaches_every_micro_batch() -> None:
    case = ENCODERS["linear"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    expected = run(encoder, lambda: direct_features(encoder, items))[1]
    encoder.zero_grad()
    (coupling_loss(sampler(items)) * 1024).backward()
    scaled = gradients_of(encoder)
    assert_same({name: g / 1024 for name, g in scaled.items()}, expected)


def test_both_passes_run_in_the_mode_of_the_call() -> None:
    case = ENCODERS["dropout"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    torch.manual_seed(2)
    expected = run(encoder, lambda: direct_features(encoder, items, groups=GROUPS))[1]
    encoder.zero_grad()
    torch.manual_seed(2)
    loss = coupling_loss(SequentialGradientSampler(encoder, micro_batch_size=4)(items))
    encoder.eval()
    loss.backward()
    assert_same(gradients_of(encoder), expected)
    assert not any(module.training for module in encoder.modules())


@pytest.mark.parametrize("what", ["weight", "tensor 0 of the call"])
def test_values_modified_between_the_passes_are_refused(what: str) -> None:
    case = ENCODERS["linear"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    loss = SequentialGradientSampler(encoder, micro_batch_size=4)(items).sum()
    with torch.no_grad():
        (encoder.weight if what == "weight" else items).mul_(2)
    with pytest.raises(RuntimeError, match=rf"\['{what}'\] were modified"):
        loss.backward()


def test_items_made_in_inference_mode_are_accepted() -> None:
    case = ENCODERS["linear"]
    with torch.inference_mode():
        items = case.items(NUM_ITEMS)
    encoder = case.make()
    expected = run(encoder, lambda: encoder(items.clone()))[1]
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    assert_same(run(encoder, lambda: sampler(items))[1], expected)


def test_parameters_frozen_between_the_passes_still_follow_the_first() -> None:
    case = ENCODERS["linear"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    expected = run(encoder, lambda: encoder(items))[1]["bias"]
    loss = coupling_loss(SequentialGradientSampler(encoder, micro_batch_size=4)(items))
    encoder.zero_grad()
    encoder.weight.requires_grad_(False)
    gradients = torch.autograd.grad(loss, encoder.bias)
    torch.testing.assert_close(gradients[0], expected, rtol=1e-12, atol=0)


def test_double_backward_is_refused() -> None:
    case = ENCODERS["linear"]
    loss = coupling_loss(SequentialGradientSampler(case.make(), micro_batch_size=4)(case.items(9)))
    with pytest.raises(RuntimeError, match="create_graph=True\\) is not supported"):
        loss.backward(create_graph=True)


def test_every_rank_gets_a_gradient_for_every_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the process group, which only has to exist here."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    case = ENCODERS["unused_submodule"]
    encoder = case.make()
    coupling_loss(SequentialGradientSampler(encoder, micro_batch_size=4)(case.items(9))).backward()
    assert torch.equal(encoder.unused.weight.grad, torch.zeros_like(encoder.unused.weight))


class Counts(nn.Linear):
    """Its output depends on how often it was called."""

    def __init__(self) -> None:
        super().__init__(6, 4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, items: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(items) * self.calls


def spectral() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4))


@pytest.mark.parametrize("build", [Counts, spectral])
def test_buffers_change_as_in_one_direct_call(build: Callable[[], nn.Module]) -> None:
    """Three micro-batches and their repetition count one call, and step the iteration once."""
    encoder, direct = build().double(), build().double()
    direct.load_state_dict(encoder.state_dict())
    items = ENCODERS["linear"].items(NUM_ITEMS)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    for _ in range(2):
        expected, got = run(direct, lambda: direct(items)), run(encoder, lambda: sampler(items))
        assert_same(got[1], expected[1])
    for (name, ours), theirs in zip(encoder.named_buffers(), direct.buffers(), strict=True):
        assert relative_error(ours, theirs) <= RTOL, name


def test_encoder_that_changes_its_parameters_is_refused() -> None:
    encoder = nn.Sequential(nn.Embedding(9, 4, max_norm=0.1), nn.Flatten())
    with pytest.raises(RuntimeError, match=r"the encoder changed \['0.weight'\]"):
        SequentialGradientSampler(encoder, micro_batch_size=4)(torch.randint(9, (8, 6)))


def test_weights_that_change_without_a_version_are_refused_by_the_comparison() -> None:
    class Decays(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            self.weight.data *= 0.999
            return super().forward(items)

    sampler = SequentialGradientSampler(Decays(200, 100), micro_batch_size=4)
    with pytest.raises(RuntimeError, match=r"or changes its own weights through \.data"):
        sampler(torch.randn(8, 200)).sum().backward()


def test_encoder_that_changes_itself_may_still_be_evaluated() -> None:
    with torch.no_grad():
        SequentialGradientSampler(Counts(), micro_batch_size=4)(torch.randn(8, 6))


def test_spectral_normalization_in_eval_mode_is_exact() -> None:
    encoder = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4)).double().eval()
    items = ENCODERS["linear"].items(NUM_ITEMS)
    expected = run(encoder, lambda: encoder(items))[1]
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    assert_same(run(encoder, lambda: sampler(items))[1], expected)


class Padded(nn.Module):
    """Attention in evaluation mode, for which torch has a fast path without gradients."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 1)

    def forward(self, items: Tensor, padding: Tensor) -> Tensor:
        return self.layers(items, src_key_padding_mask=padding).mean(dim=1)


def test_attention_takes_the_same_path_in_both_passes() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = Padded().double().eval()
    items = ENCODERS["transformer_block"].items(NUM_ITEMS)
    padding = torch.zeros(NUM_ITEMS, 3, dtype=torch.bool)
    padding[:, 2] = True
    expected = run(encoder, lambda: encoder(items, padding))
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    got = run(encoder, lambda: sampler(items, padding))
    torch.testing.assert_close(got[0][0], expected[0][0], rtol=1e-12, atol=1e-14)
    assert_same(got[1], expected[1])
    assert torch.backends.mha.get_fastpath_enabled()


def test_shared_values_modified_between_the_passes_are_refused() -> None:
    class Scales(nn.Linear):
        def forward(self, items: Tensor, scale: Tensor) -> Tensor:
            return super().forward(items) * scale

    scale = torch.ones(4)
    sampler = SequentialGradientSampler(Scales(6, 4), micro_batch_size=4)
    loss = sampler(torch.randn(8, 6), Shared(scale)).sum()
    scale.mul_(3)
    with pytest.raises(RuntimeError, match=r"\['tensor 1 of the call'\] were modified"):
        loss.backward()


def test_parameters_of_a_functional_call_get_the_gradients() -> None:
    case = ENCODERS["linear"]
    model = nn.Sequential(SequentialGradientSampler(case.make(), micro_batch_size=4))
    others = {n: torch.randn_like(p, requires_grad=True) for n, p in model.named_parameters()}
    features = torch.func.functional_call(model, others, (case.items(NUM_ITEMS),))
    got = torch.autograd.grad(coupling_loss(features), list(others.values()))
    renamed = {name.removeprefix("0.encoder."): tensor for name, tensor in others.items()}
    direct = torch.func.functional_call(case.make(), renamed, (case.items(NUM_ITEMS),))
    expected = torch.autograd.grad(coupling_loss(direct), list(others.values()))
    for ours, theirs in zip(got, expected, strict=True):
        assert relative_error(ours, theirs) <= RTOL
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_submodule_replaced_between_the_passes_still_gets_its_gradient() -> None:
    encoder, items = nn.Sequential(nn.Linear(6, 4)), torch.randn(8, 6)
    called, other = encoder[0], nn.Linear(6, 4)
    loss = SequentialGradientSampler(encoder, micro_batch_size=4)(items).sum()
    encoder[0] = other
    loss.backward()
    torch.testing.assert_close(called.weight.grad, items.sum(dim=0).expand(4, 6))
    assert encoder[0] is other
    assert other.weight.grad is None


def test_items_that_require_their_gradient_only_after_the_first_pass_get_none() -> None:
    case = ENCODERS["linear"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    expected = run(encoder, lambda: encoder(items))[1]
    encoder.zero_grad()
    loss = coupling_loss(SequentialGradientSampler(encoder, micro_batch_size=4)(items))
    items.requires_grad_()
    loss.backward()
    assert items.grad is None
    assert_same(gradients_of(encoder), expected)


def test_another_default_device_changes_nothing() -> None:
    case = ENCODERS["linear"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4, ratio=0.5)
    with torch.device("meta"):
        features = sampler(items)
    features.sum().backward()
    assert features.device.type == "cpu"
    assert encoder.weight.grad is not None


@pytest.mark.gpu
@pytest.mark.parametrize("autocast", [False, True])
def test_dropout_and_autocast_are_replayed_on_cuda(autocast: bool) -> None:
    encoder = ENCODERS["dropout"].make().float().cuda()
    items = torch.randn(NUM_ITEMS, 6, device="cuda")
    groups = [group.cuda() for group in GROUPS]
    sampler = SequentialGradientSampler(encoder, micro_batch_size=4)
    results = []
    for features in (
        lambda: direct_features(encoder, items, groups=groups),
        lambda: sampler(items),
    ):
        encoder.zero_grad()
        torch.manual_seed(2)
        with torch.autocast("cuda", dtype=torch.bfloat16) if autocast else nullcontext():
            outputs = features()
        outputs.float().square().sum().backward()
        results.append(gradients_of(encoder))
    assert_same(results[1], results[0], rtol=1e-5)


def test_without_aliases_hooks_would_fire_once_per_micro_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control of the aliases."""

    @contextmanager
    def no_aliases(self: CalledParameters) -> Iterator[list[Tensor]]:
        yield self.trainable

    def times_that_a_hook_fires() -> int:
        encoder, fired = nn.Linear(3, 4), []
        encoder.weight.register_hook(fired.append)
        sampler = SequentialGradientSampler(encoder, micro_batch_size=2)
        sampler(torch.randn(6, 3)).sum().backward()
        return len(fired)

    assert times_that_a_hook_fires() == 1
    monkeypatch.setattr(CalledParameters, "aliased", no_aliases)
    # Three micro-batches, and what the outer backward returns.
    assert times_that_a_hook_fires() == 4


def test_sources_that_the_encoder_does_not_draw_from_are_left_alone() -> None:
    """Another thread that draws meanwhile, e.g. a loader, must not repeat its numbers."""

    class Meanwhile(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                drawn.append(random.random())
            return super().forward(items)

    drawn: list[float] = []
    sampler = SequentialGradientSampler(Meanwhile(3, 4), micro_batch_size=2)
    sampler(torch.randn(6, 3)).sum().backward()
    assert len({*drawn, random.random()}) == 4


def test_a_pass_without_gradients_is_what_a_loop_would_do() -> None:
    """Buffers move once per micro-batch, and attention may take its fast path."""
    encoder = KINDS["counter"].make()
    sampler = SequentialGradientSampler(encoder, micro_batch_size=2)
    with torch.no_grad():
        sampler(**KINDS["counter"].items(6))
    assert encoder.num_calls == 3


class Doubling(nn.Parameter):
    def twice(self) -> int:
        return 2


def test_parameters_keep_their_attributes_and_frozen_ones_their_place() -> None:
    class Reads(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            seen.append(self.bias)
            return super().forward(items) * self.weight.scale * self.weight.twice()

    seen: list[Tensor] = []
    encoder = Reads(3, 4)
    encoder.weight.scale = 2.0
    encoder.weight.__class__ = Doubling
    bias = encoder.bias.requires_grad_(False)
    tried(SequentialGradientSampler(encoder, micro_batch_size=2))(
        torch.randn(6, 3)
    ).sum().backward()
    assert len(seen) == 6
    assert all(tensor is bias for tensor in seen)


def test_an_item_tensor_that_the_encoder_does_not_use_gets_no_gradient() -> None:
    class Ignores(nn.Linear):
        def forward(self, items: Tensor, unused: Tensor) -> Tensor:
            return super().forward(items)

    items, unused = torch.randn(6, 3, requires_grad=True), torch.randn(6, 3, requires_grad=True)
    sampler = SequentialGradientSampler(Ignores(3, 4), micro_batch_size=2)
    sampler(items, unused).sum().backward()
    assert items.grad is not None
    assert unused.grad is None


BUFFERS = {
    "nan": torch.full((3,), torch.nan),
    "sparse": torch.eye(3).to_sparse(),
    "meta": torch.empty(3, device="meta"),
    "float8": torch.ones(3).to(torch.float8_e4m3fn),
    "empty": torch.empty(0),
}


@pytest.mark.parametrize("buffer", BUFFERS.values(), ids=BUFFERS)
def test_constant_buffers_of_every_type_are_accepted(buffer: Tensor) -> None:
    encoder = nn.Linear(3, 4)
    encoder.register_buffer("constant", buffer)
    SequentialGradientSampler(encoder, micro_batch_size=2)(torch.randn(6, 3)).sum().backward()
    assert encoder.weight.grad is not None


def test_frozen_parameters_of_every_type_are_accepted() -> None:
    encoder = nn.Linear(3, 4)
    scale = torch.ones(3).to(torch.float8_e4m3fn)
    encoder.scale = nn.Parameter(scale, requires_grad=False)
    SequentialGradientSampler(encoder, micro_batch_size=2)(torch.randn(6, 3)).sum().backward()
    assert encoder.weight.grad is not None


def test_long_containers_are_data_and_not_copied() -> None:
    encoder = nn.Linear(3, 4)
    encoder.vocabulary = {str(i): i for i in range(LONGEST + 1)}
    encoder.cache = {}
    snapshot = Snapshot({"": encoder})
    encoder.vocabulary["new"] = encoder.cache["new"] = 0
    assert [kept.held for kept in snapshot.changes()] == [encoder.cache]


def test_coarser_matrix_products_are_tolerated_where_they_are_allowed() -> None:
    class Rounds(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            return super().forward(items) * (1 + 1e-3 * torch.is_grad_enabled())

    sampler = SequentialGradientSampler(Rounds(3, 4), micro_batch_size=2)
    with pytest.raises(RuntimeError, match="the second pass computed other features"):
        sampler(torch.randn(4, 3)).sum().backward()
    torch.set_float32_matmul_precision("high")
    try:
        sampler(torch.randn(4, 3)).sum().backward()
    finally:
        torch.set_float32_matmul_precision("highest")
