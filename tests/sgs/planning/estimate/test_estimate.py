import itertools
import random
import resource
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from samplers import DPP, Random
from sgs import (
    ArraySource,
    Estimate,
    FrozenStem,
    SequentialGradientSampler,
    Shared,
    SourceBatch,
    estimate,
)
from sgs.planning.estimate import estimate as estimate_module, step_counter
from sgs.planning.estimate.worst_case_strategies import FirstItems
from tests.sgs.planning.steps import (
    ENCODERS,
    METHODS,
    MICRO_BATCH_SIZE,
    NUM_ITEMS,
    Attention,
    Recomputed,
    adamw,
    convolutions,
    frozen_stem,
    images,
    measured,
    one_convolution,
    stochastic,
    wide,
    wrapped,
)


@pytest.fixture
def exact_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "CUDA_BLOCK", 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", ENCODERS)
@pytest.mark.usefixtures("exact_bytes")
def test_peak_is_that_of_a_real_step(make: Callable[[], nn.Module], method: str) -> None:
    sampler = wrapped(make())
    found = estimate(sampler, images(), method=method, optimizer=adamw).peak_bytes
    # 8 bytes per micro-batch: what the comparison of both passes found.
    assert abs(measured(method, sampler, images()) - found) <= (32 if method == "sgs" else 0)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (stochastic, {}),
        (stochastic, {"ratio": 0.5, "forward_micro_batch_size": 3}),
        (stochastic, {"ratio": 0.5, "sampler": DPP()}),
        (stochastic, {"check_replay": False}),
        (Recomputed, {"ratio": 0.5}),
    ],
    ids=["plain", "larger first pass", "dpp", "unchecked", "recomputed"],
)
@pytest.mark.usefixtures("exact_bytes")
def test_two_micro_batches_of_each_size_stand_for_all(
    make: Callable[[], nn.Module], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, items = wrapped(make(), **options), images(22).requires_grad_()
    few = estimate(sampler, items)
    monkeypatch.setattr(step_counter, "CALLS_PER_SIZE", 100)
    all_of_them = estimate(sampler, items)
    assert few.flops == all_of_them.flops
    assert 0 <= all_of_them.peak_bytes - few.peak_bytes <= 8 * 22 / MICRO_BATCH_SIZE
    monkeypatch.setattr(step_counter, "CALLS_PER_SIZE", 1)
    # The negative control: the first meets no gradients of others.
    assert estimate(sampler, items).peak_bytes < few.peak_bytes - 8 * 22


@pytest.mark.parametrize("items_on_device", [True, False])
@pytest.mark.usefixtures("exact_bytes")
def test_checkpointed_micro_batches_that_are_left_out_count(
    items_on_device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = partial(
        estimate,
        wrapped(wide()),
        images(22),
        method="checkpointed",
        items_on_device=items_on_device,
    )
    few = run()
    monkeypatch.setattr(step_counter, "CALLS_PER_SIZE", 100)
    assert run() == few


@pytest.mark.parametrize(
    ("options", "num_items"),
    [
        ({}, 128),
        ({"ratio": 0.3}, 128),
        ({"forward_micro_batch_size": 16}, 128),
        pytest.param({}, 4096, marks=pytest.mark.exhaustive),
    ],
)
def test_peak_is_constant_in_the_number_of_streamed_items(
    options: dict[str, Any], num_items: int
) -> None:
    encoder = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    few, many = (
        estimate(
            wrapped(encoder, **options),
            torch.empty(count, 3, 56, 56, device="meta"),
            items_on_device=False,
        ).bytes_by_category
        for count in (64, num_items)
    )
    features = few.pop("features"), many.pop("features")
    heads = few.pop("head"), many.pop("head")
    assert sum(few.values()) == sum(many.values())
    # The features are what the head works on: they grow as they do for frozen features.
    assert features[1] <= num_items / 64 * features[0]
    assert heads[0] <= heads[1]


@pytest.mark.parametrize("method", ["naive", "checkpointed"])
def test_peak_of_one_graph_grows(method: str) -> None:
    few, many = (
        estimate(wrapped(Attention()), images(n), method=method, items_on_device=False).peak_bytes
        for n in (32, 1024)
    )
    assert many > 2 * few


@pytest.mark.usefixtures("exact_bytes")
def test_bytes_of_a_linear_encoder_are_those_counted_by_hand() -> None:
    sampler = SequentialGradientSampler(nn.Linear(100, 20, bias=False), micro_batch_size=5)
    found = estimate(sampler, torch.rand(30, 100), optimizer=torch.optim.Adam).bytes_by_category
    size = 4 * 100 * 20
    assert found["parameters"] == size
    assert 0 <= found["gradients"] - size < 8 * 30 / 5
    assert found["optimizer_state"] == 2 * size
    # All of them, and the copy of a micro-batch.
    assert found["items"] == 4 * (30 + 5) * 100


def test_memory_is_counted_in_the_blocks_of_the_allocator() -> None:
    sampler = SequentialGradientSampler(nn.Linear(1, 1, bias=False), micro_batch_size=1)
    assert estimate(sampler, torch.rand(1, 1)).bytes_by_category["parameters"] == 512


@pytest.mark.parametrize("method", METHODS)
def test_flops_are_those_counted_by_hand(method: str) -> None:
    sampler = wrapped(nn.Sequential(nn.Linear(100, 20), nn.Linear(20, 7)), ratio=0.5)
    found = estimate(sampler, torch.rand(40, 100), method=method, head=lambda x: x.sum())
    product = 2 * (100 * 20 + 20 * 7)
    # Items need no gradient, so the backward of the first layer is one product, of the others two.
    backward = product + 2 * 20 * 7
    expected = {
        "sgs": 20 * (product + backward),
        "naive": 40 * backward,
        # The recomputation stops at the last tensor that the backward needs.
        "checkpointed": 40 * (2 * 100 * 20 + backward),
    }
    assert found.flops["forward"] == 40 * product
    assert found.flops["backward"] == expected[method]


def test_flops_are_those_of_the_flop_counter_and_of_attention() -> None:
    encoder = convolutions()
    with FlopCounterMode(display=False) as counter:
        encoder(images()).square().mean().backward()
    assert estimate(wrapped(encoder), images(), method="naive").total_flops == (
        counter.get_total_flops()
    )


def test_flops_of_attention_on_the_cpu_count() -> None:
    def attend(x: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x[:, :, :3], x, x).square().mean()

    found = estimate(wrapped(nn.Linear(8, 8)), torch.rand(14, 2, 5, 8), head=attend)
    # Two products of 3 x 8 x 5 forward and five backward, for two heads of each of 14 items.
    assert found.flops["head"] == 7 * 14 * 2 * 2 * 3 * 8 * 5


def test_head_and_its_parameters_and_optimizer_count() -> None:
    head = nn.Sequential(nn.Flatten(0), nn.Linear(14 * 16, 1000), nn.Linear(1000, 1))
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(768, 16))
    alone = estimate(wrapped(encoder), images(), optimizer=adamw).bytes_by_category
    found = estimate(wrapped(encoder), images(), head=head, optimizer=adamw).bytes_by_category
    size = 4 * sum(parameter.numel() for parameter in head.parameters())
    for name in ("parameters", "gradients"):
        assert size <= found[name] - alone[name] < size + 3000
    assert found["optimizer_state"] >= 2 * size


def test_optimizer_that_updates_all_at_once_can_be_the_peak() -> None:
    sampler, items = wrapped(nn.Linear(1000, 1000)), torch.empty(8, 1000, device="meta")
    without = estimate(sampler, items).peak_bytes
    size = 4 * 1000 * 1000
    assert 3 * size < without < 3.1 * size
    found = estimate(sampler, items, optimizer=torch.optim.AdamW)
    assert 5 * size < found.peak_bytes < 6 * size
    one_by_one = partial(torch.optim.SGD, lr=0.1, foreach=False)
    assert estimate(sampler, items, optimizer=one_by_one).peak_bytes == without


def test_no_memory_is_allocated() -> None:
    encoder = nn.Sequential(*(nn.Linear(2000, 2000) for _ in range(10)))
    items = torch.empty(16, 125_000, 2000, device="meta")
    estimate(wrapped(nn.Linear(2, 2)), torch.rand(8, 2), optimizer=adamw)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = [estimate(wrapped(encoder), items, method=m, optimizer=adamw) for m in METHODS]
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert min(x.peak_bytes for x in found) > 8e9
    assert grown_kib < 50_000  # the parameters take 160 MB


def state_of(sampler: SequentialGradientSampler, generator: torch.Generator) -> list[Any]:
    tensors = [*sampler.parameters(), *sampler.buffers()]
    modules = [(id(m), m.training, sorted(vars(m))) for m in sampler.modules()]
    identities = [(id(x), x._version, x.grad is None, x._backward_hooks) for x in tensors]
    states = [torch.get_rng_state().tolist(), generator.get_state().tolist(), random.getstate()]
    values = [x.tolist() for x in tensors]
    return [modules, identities, values, states, str(np.random.get_state()), sampler.last_index]  # noqa: NPY002


# The checker of types draws from Python's generator.
@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize("method", METHODS)
def test_nothing_changes(method: str, generator: torch.Generator) -> None:
    encoder = nn.Sequential(
        Attention(), nn.Dropout(), nn.utils.parametrizations.spectral_norm(nn.Linear(16, 4))
    )
    sampler = wrapped(encoder, ratio=0.5, sampler=Random(), generator=generator)
    items = images()
    before = state_of(sampler, generator)
    estimate(sampler, items, method=method, head=lambda x: torch.rand_like(x).mul(x).sum())
    assert state_of(sampler, generator) == before


@pytest.mark.parametrize("method", METHODS)
def test_real_meta_and_fake_descriptions_are_alike(method: str) -> None:
    real = estimate(wrapped(convolutions()), images(), method=method)
    with torch.device("meta"):
        sampler = wrapped(convolutions())
    assert estimate(sampler, images(device="meta"), method=method) == real
    with FakeTensorMode():
        fake = images()
    assert estimate(sampler, fake, method=method) == real


def test_encoder_of_fake_parameters_can_be_frozen_in_part() -> None:
    with FakeTensorMode():
        fake = frozen_stem()
    frozen = estimate(wrapped(fake), images())
    assert frozen == estimate(wrapped(frozen_stem()), images())
    trained = estimate(wrapped(convolutions()), images())
    assert trained.bytes_by_category["gradients"] > frozen.bytes_by_category["gradients"]


class Special(nn.Module):
    """Makes tensors, shares a buffer between modules and owns a generator."""

    def __init__(self, *, made: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.made = made
        self.register_buffer("table", torch.zeros(1000))
        self.linear.register_buffer("table", self.table)
        self.generator = torch.Generator().manual_seed(3)

    def forward(self, x: Tensor) -> Tensor:
        made = torch.ones(self.made)
        noise = torch.rand(len(x), 1, generator=self.generator)
        return self.linear(x) * (made.mean() + noise)


@pytest.mark.usefixtures("exact_bytes")
def test_what_an_encoder_makes_and_shares_counts_once() -> None:
    few, many = (estimate(wrapped(Special(made=n)), torch.rand(14, 3)) for n in (1, 10**6))
    assert few.bytes_by_category["parameters"] == 4 * (3 * 4 + 4 + 1000)
    assert many.peak_bytes - few.peak_bytes > 3.9e6


@pytest.mark.usefixtures("exact_bytes")
def test_sums_of_micro_batches_are_gradients() -> None:
    half = wrapped(nn.Linear(300, 300).bfloat16())
    items = torch.rand(16, 300, dtype=torch.bfloat16)
    gradients = estimate(half, items).bytes_by_category["gradients"]
    assert 0 <= gradients - 4 * 300 * 301 <= 4 * 300  # in float32
    full, items = wrapped(nn.Linear(300, 300)), torch.rand(16, 300, requires_grad=True)
    gradients = estimate(full, items).bytes_by_category["gradients"]
    assert 0 <= gradients - 4 * 300 * (301 + 16) <= 4 * 300 * 5


@pytest.mark.parametrize("method", METHODS)
def test_backward_of_the_encoder_belongs_to_the_encoder(method: str) -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(1, keepdim=True)

    encoder = nn.Sequential(nn.Linear(1, 10**5), nn.GELU(), Mean())
    found = estimate(wrapped(encoder), torch.rand(8, 1), method=method).bytes_by_category
    # At least what the GELU keeps, and the gradient of it.
    kept = 8 if method == "naive" else 4
    assert 2 * kept * 4e5 <= found["activations"] < 4 * kept * 4e5
    assert found["head"] < 5000


@pytest.mark.usefixtures("exact_bytes")
def test_items_in_host_memory_count_where_they_are_copied() -> None:
    sampler, size = wrapped(convolutions()), 4 * NUM_ITEMS * 3 * 16 * 16

    def items_of(method: str, on_device: bool) -> int:
        found = estimate(sampler, images(), method=method, items_on_device=on_device)
        return found.bytes_by_category["items"]

    assert items_of("naive", True) == items_of("naive", False) == size
    part = size * MICRO_BATCH_SIZE // NUM_ITEMS
    assert items_of("checkpointed", True) == size
    # The short last part is recomputed first, and freed before a whole one is.
    assert items_of("checkpointed", False) == size - part // 2
    # A micro-batch, and the one before until it is replaced.
    assert items_of("sgs", True) == size + items_of("sgs", False)
    assert part <= items_of("sgs", False) <= 2 * part


def guided(encoder: nn.Module) -> SequentialGradientSampler:
    return wrapped(encoder, forward_micro_batch_size=8, ratio=0.5, sampler=DPP())


def test_encoder_that_draws_is_refused_where_a_real_step_refuses_it() -> None:
    with pytest.raises(RuntimeError, match="drew random numbers"):
        estimate(guided(stochastic()), images())


def test_micro_batches_that_are_repeated_whole_count_whole() -> None:
    few, all_of_them = (
        estimate(wrapped(stochastic(), ratio=ratio, sampler=DPP()), images(24)).flops["backward"]
        for ratio in (0.125, 1.0)
    )
    # 3 items, at most one in each of 6 micro-batches of 4.
    assert few * 6 == all_of_them * 3


@pytest.mark.parametrize("on_host", [False, True])
def test_outputs_of_a_stem_count_where_they_are_kept(on_host: bool) -> None:
    """By hand: 14 items of 400 floats from the stem, of which 14 are kept."""
    stem = nn.Sequential(nn.Flatten(), nn.Linear(768, 400)).requires_grad_(False)
    option = FrozenStem(stem, cache_device="cpu" if on_host else None)
    sampler = wrapped(nn.Linear(400, 5), frozen_stem=option)
    with_stem = estimate(sampler, images(), items_on_device=False)
    kept = 14 * 400 * 4
    found = with_stem.bytes_by_category["features"]
    assert (found < kept / 2) if on_host else (kept <= found < 1.2 * kept)
    weights = 768 * 400 + 400 * 5
    assert with_stem.flops["forward"] == 2 * 14 * weights
    # The stem is not repeated, and the trunk's items need no gradient.
    assert with_stem.flops["backward"] == 2 * 14 * 2 * 400 * 5


def test_kept_graphs_add_up() -> None:
    def bytes_with(kept: int) -> int:
        found = estimate(wrapped(convolutions(), kept_graphs=kept), images(24))
        return found.bytes_by_category["activations"]

    peaks = [bytes_with(kept) for kept in range(2, 6)]
    growth = {after - before for before, after in itertools.pairwise(peaks)}
    assert len(growth) == 1
    assert growth.pop() > 0.5 * bytes_with(0)


def test_kept_graphs_meet_the_calls_after_them() -> None:
    """The peak is that of the pass with the graphs, whichever items were drawn first."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(768, 400), nn.Linear(400, 5))
    encoder[1].requires_grad_(False)
    sampler = wrapped(encoder[2], frozen_stem=encoder[:2], ratio=0.3, kept_graphs=1)
    peaks = set()
    for seed in range(3):
        torch.manual_seed(seed)
        sampler.generator = torch.Generator().manual_seed(seed)
        peaks.add(estimate(sampler, images(24), items_on_device=False).peak_bytes)
    assert len(peaks) == 1


@pytest.mark.parametrize(
    "make", [convolutions, pytest.param(Attention, marks=pytest.mark.exhaustive)]
)
@pytest.mark.usefixtures("exact_bytes")
def test_peak_with_kept_graphs_is_that_of_a_real_step(make: Callable[[], nn.Module]) -> None:
    for options in ({}, {"ratio": 0.5, "sampler": FirstItems()}):
        sampler = wrapped(make(), kept_graphs=2, **options)
        found = estimate(sampler, images(), optimizer=adamw).peak_bytes
        # What the comparison found and a weight per item are in host memory.
        assert abs(measured("sgs", sampler, images()) - found) <= 64 + 8 * NUM_ITEMS


@pytest.mark.usefixtures("exact_bytes")
def test_peak_with_kept_graphs_is_not_exceeded_whichever_items_are_drawn() -> None:
    sampler = wrapped(Attention(), forward_micro_batch_size=8, kept_graphs=1, ratio=0.5)
    found = estimate(sampler, images(24), optimizer=adamw).peak_bytes
    peaks = []
    for seed in range(6):
        sampler.generator = torch.Generator().manual_seed(seed)
        peaks.append(measured("sgs", sampler, images(24)))
    # Positions of items and what the comparison found are in host memory.
    assert min(peaks) < 0.9 * found < max(peaks) <= found + 24 * 24


def test_kept_graphs_save_forward_operations() -> None:
    flops = [
        estimate(wrapped(one_convolution(), kept_graphs=kept), images(24)).flops for kept in (0, 3)
    ]
    assert flops[0]["forward"] == flops[1]["forward"]
    assert flops[0]["backward"] - flops[1]["backward"] == flops[0]["forward"] * 3 // 6


@pytest.mark.parametrize("method", METHODS)
def test_sources_count_as_items_in_host_memory(method: str) -> None:
    given = [
        (wrapped(wide()), images(), ArraySource(images())),
        (
            wrapped(wide(), item_dim=1),
            images(28).unflatten(0, (2, 14)),
            SourceBatch([ArraySource(images()), ArraySource(images())]),
        ),
    ]
    for sampler, items, source in given:
        streamed = estimate(sampler, source, method=method)
        assert streamed.bytes_by_category == (
            estimate(sampler, items, method=method, items_on_device=False).bytes_by_category
        )


# The shape checker draws from Python's random numbers.
@pytest.mark.usefixtures("raw_errors")
def test_attention_without_dropout_draws_nothing() -> None:
    """It is tagged as random in torch whether it drops out or not."""
    assert estimate(guided(Attention()), images()).peak_bytes > 0


@pytest.mark.parametrize("method", METHODS)
def test_arguments_may_be_positional_or_by_name_and_of_several_videos(method: str) -> None:
    class Conditioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 5)

        def forward(self, x: Tensor, scale: Tensor) -> dict[str, Tensor]:
            return {"features": self.linear(x) * scale, "lengths": x[:, 0].long()}

    sampler = wrapped(Conditioned(), item_dim=1)
    x, scale = torch.rand(2, 7, 3), Shared(torch.rand(5, requires_grad=True))
    by_position = estimate(sampler, (x, scale), method=method)
    assert estimate(sampler, {"x": x, "scale": scale}, method=method) == by_position
    assert by_position.num_items == 14


def test_half_precision_takes_less() -> None:
    sampler = wrapped(Attention())
    full = estimate(sampler, images(), method="naive").bytes_by_category
    half = estimate(sampler, images(), method="naive", autocast=torch.bfloat16).bytes_by_category
    assert half["activations"] < 0.8 * full["activations"]
    assert half["parameters"] == full["parameters"]


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_callers_autocast_does_not_matter(method: str, autocast: torch.dtype | None) -> None:
    run = partial(estimate, wrapped(wide()), images(), method=method, autocast=autocast)
    expected = run()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert run() == expected
        # The caller's own is still there, one level deep.
        assert torch.is_autocast_enabled("cpu")
        assert torch.autocast_decrement_nesting() == 0
        torch.autocast_increment_nesting()


def test_encoder_that_looks_at_values_gets_an_answer() -> None:
    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x) if x.sum() > 1e9 or x.max().item() < 7 else x

    assert estimate(wrapped(Looking()), torch.rand(14, 3)).peak_bytes > 0


def test_estimate_reads_as_a_table_and_tells_whether_it_fits() -> None:
    sizes = {"parameters": 3 * 1024**3, "items": 0, "head": 512 * 1024**2}
    found = Estimate("sgs", 128, sizes, {"forward": 2 * 10**12, "head": 0, "backward": 10**12})
    assert str(found).splitlines() == [
        "sgs, 128 items (estimated)",
        "  parameters              3 GiB",
        "  head                  512 MiB",
        "  peak memory           3.5 GiB",
        "  forward TFLOP               2",
        "  head TFLOP                  0",
        "  backward TFLOP              1",
    ]
    assert found.total_flops == 3 * 10**12
    assert found.fits("4GiB")
    assert not found.fits("3.8 GiB")
    assert found.fits(3_758_096_384, margin=0.0)
    assert not found.fits(3_758_096_383, margin=0.0)
    assert found.fits("3.76 GB", margin=0.0)


@pytest.mark.parametrize("margin", [-0.1, 1.0])
def test_margin_outside_its_range_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match=r"margin=.*expected a value in \[0, 1\)"):
        Estimate("sgs", 1, {}, {}).fits("1GiB", margin=margin)


@pytest.mark.parametrize("size", ["8 potatoes", "GiB", "-1GiB", "", True])
def test_amount_of_memory_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(ValueError, match="is no amount of memory"):
        Estimate("sgs", 1, {}, {}).fits(size)


@pytest.mark.usefixtures("raw_errors")
def test_other_than_a_sampler_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a SequentialGradientSampler"):
        estimate(nn.Linear(3, 3), torch.rand(3, 3))  # type: ignore[arg-type]


def test_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        estimate(wrapped(nn.Linear(3, 3)), torch.rand(3, 3), method="magic")


def test_sharded_parameters_are_refused(process_group: None) -> None:
    from torch.distributed.fsdp import fully_shard

    encoder = fully_shard(nn.Linear(3, 3), mesh=torch.distributed.init_device_mesh("cpu", (1,)))
    with pytest.raises(TypeError, match="are sharded"):
        estimate(wrapped(encoder), torch.rand(3, 3))


def test_distributed_encoder_is_estimated_on_without_its_wrapper(process_group: None) -> None:
    plain = estimate(wrapped(wide()), images())
    assert estimate(wrapped(nn.parallel.DistributedDataParallel(wide())), images()) == plain


def test_encoder_that_cannot_be_copied_is_refused() -> None:
    encoder = nn.Linear(3, 3)
    encoder.iterator = (i for i in range(3))
    with pytest.raises(TypeError, match="the encoder cannot be copied"):
        estimate(wrapped(encoder), torch.rand(3, 3))


@pytest.mark.parametrize("loss", [lambda x: x, lambda x: 3.0, lambda x: x.detach().sum()])
def test_head_that_returns_no_loss_is_refused(loss: Callable[[Tensor], Any]) -> None:
    with pytest.raises(ValueError, match="expected a loss of a single number"):
        estimate(wrapped(nn.Linear(3, 3)), torch.rand(8, 3), head=loss)


@pytest.mark.usefixtures("raw_errors")
def test_what_makes_no_optimizer_is_refused() -> None:
    with pytest.raises(TypeError, match="makes a list"):
        estimate(wrapped(nn.Linear(3, 3)), torch.rand(8, 3), optimizer=list)  # type: ignore[arg-type]


def test_shapes_that_depend_on_values_are_refused() -> None:
    with pytest.raises(RuntimeError, match="computes a shape from the values"):
        estimate(wrapped(nn.Linear(3, 3)), torch.rand(8, 3), head=lambda x: x[x > 0].sum())
