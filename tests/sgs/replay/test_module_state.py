"""What calls leave on modules: as one direct call, or as calls in a loop, or refused by name."""

import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function

from sgs import SequentialGradientSampler
from tests.reference import RTOL, assert_same, coupling_loss, gradients_of, relative_error, run
from tests.sgs.encoders import tried
from tests.sgs.kinds.remembering import HookedInFirstCall

# The shape checker draws from Python's random, which counts as drawn by the encoder.
pytestmark = pytest.mark.usefixtures("raw_errors")

ITEMS = torch.linspace(-1, 2, 60, dtype=torch.float64).view(10, 6)
NUM_CALLS = 3


def built(encoder: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return encoder(6, 4).double()


def sampler_of(encoder: nn.Module, **options: Any) -> SequentialGradientSampler:
    return SequentialGradientSampler(encoder, **{"micro_batch_size": 4, **options})


def assert_exact(
    encoder: type[nn.Module], *, steps: int = 2, rtol: float = RTOL, **options: Any
) -> nn.Module:
    """Compare with one direct call, and return the encoder."""
    ours, direct = built(encoder), built(encoder)
    sampler = sampler_of(ours, **options)
    for _ in range(steps):
        ours.zero_grad()
        direct.zero_grad()
        expected = run(direct, lambda: direct(ITEMS))[1]
        assert_same(run(ours, lambda: sampler(ITEMS))[1], expected, rtol=rtol)
    return ours


class ScalesFeatures(nn.Linear):
    """Registers a hook in its first call."""

    is_hooked = False

    def forward(self, items: Tensor) -> Tensor:
        if not self.is_hooked:
            self.register_forward_hook(lambda module, inputs, output: 2 * output)
            self.is_hooked = True
        return super().forward(items)


class HookedBehind(HookedInFirstCall):
    """The hook is on another module than the one with the flag."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()


@pytest.mark.parametrize("kept_graphs", [0, 2])
@pytest.mark.parametrize("encoder", [ScalesFeatures, HookedBehind])
def test_hooks_of_the_first_call_are_registered_once(
    encoder: type[nn.Module], kept_graphs: int
) -> None:
    left = assert_exact(encoder, kept_graphs=kept_graphs)
    assert all(len(m._forward_hooks) + len(m._backward_hooks) <= 2 for m in left.modules())
    assert left.is_hooked


def test_hooks_on_parameters_in_the_first_call_are_refused_and_the_next_call_is_exact() -> None:
    class ScalesWeight(ScalesFeatures):
        def forward(self, items: Tensor) -> Tensor:
            if not self.is_hooked:
                self.weight.register_hook(lambda gradient: 0.5 * gradient)
                self.is_hooked = True
            return nn.Linear.forward(self, items)

    encoder, direct = built(ScalesWeight), built(ScalesWeight)
    with pytest.raises(RuntimeError, match=r"registered hooks on \['weight'\]"):
        sampler_of(encoder)(ITEMS)
    expected = run(direct, lambda: direct(ITEMS))[1]
    assert_same(run(encoder, lambda: sampler_of(encoder)(ITEMS))[1], expected)


class Standardises(nn.Linear):
    """Statistics of the items that it sees first."""

    mean: Tensor | None = None

    def forward(self, items: Tensor) -> Tensor:
        if self.mean is None:
            self.mean = items.detach().mean(dim=0)
        return super().forward(items - self.mean)


def test_the_way_out_of_interacting_items_is_one() -> None:
    class Centres(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            self.last = super().forward(items)
            return self.last - self.last.mean(dim=0)

    with pytest.raises(RuntimeError, match=r"pass check_replay=False"):
        sampler_of(built(Centres))(ITEMS)
    for options in ({"check_replay": False}, {"allow_batch_norm": True}):
        sampler_of(built(Centres), **options)(ITEMS).sum().backward()


class StandardisesByNumber(Standardises):
    """A number instead of a tensor, behind a flag of the whole encoder."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.inner = SimpleNamespace(mean=0.0)
        self.is_set = False

    def forward(self, items: Tensor) -> Tensor:
        if not self.is_set:
            self.inner.mean = float(items.mean())
            self.is_set = True
        return nn.Linear.forward(self, items - self.inner.mean)


@pytest.mark.parametrize("encoder", [Standardises, StandardisesByNumber])
def test_statistics_of_the_first_items_are_refused_by_name(encoder: type[nn.Module]) -> None:
    refused, before = built(encoder), built(encoder)
    # Another check finds them where the first call was not the one that set them.
    for sampler in (sampler_of(refused), tried(sampler_of(refused))):
        with pytest.raises(RuntimeError, match=r"items interact.*call the encoder on some items"):
            sampler(ITEMS)
    refused(ITEMS), before(ITEMS)
    got = run(refused, lambda: sampler_of(refused)(ITEMS))[1]
    assert_same(got, run(before, lambda: before(ITEMS))[1])


def test_statistics_of_the_first_item_are_refused_one_by_one() -> None:
    with pytest.raises(RuntimeError, match=r"items interact|change differently"):
        sampler_of(built(StandardisesByNumber), micro_batch_size=1)(ITEMS)


class Records(nn.Linear):
    """Keeps something of each call, in many ways; its features do not depend on it."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.sums: list[float] = []
        self.shapes: list[int] = []
        self.by_name: dict[str, list[Tensor]] = {"first": []}
        self.by_value: dict[float, int] = {}
        self.total = torch.zeros(6, dtype=torch.float64)
        self.object = SimpleNamespace(count=0, sum=torch.zeros(()))
        self.register_buffer("seen", torch.zeros(6))
        self.register_buffer("mask", torch.ones(6))

    def forward(self, items: Tensor) -> Tensor:
        self.sums.append(float(items.sum()))
        self.shapes.append(6)
        self.by_name["first"].append(items[0].clone())
        self.by_value[float(items[0, 0])] = len(items)
        self.total += items.detach().sum(dim=0)
        self.object.count += len(items)
        self.object.sum = self.object.sum + items.sum()
        self.seen.data.add_(items.sum(dim=0))
        self.mask = torch.bernoulli(torch.full((6,), 0.9)).to(items)
        self.last = super().forward(items)
        return self.last


@pytest.mark.parametrize("is_first_call", [False, True])
@pytest.mark.parametrize("kept_graphs", [0, 2])
def test_what_is_recorded_of_the_items_is_kept_once(kept_graphs: int, is_first_call: bool) -> None:
    encoder = built(Records)
    expected = run(encoder, lambda: nn.functional.linear(ITEMS, encoder.weight, encoder.bias))[1]
    encoder.zero_grad()
    sampler = sampler_of(encoder, kept_graphs=kept_graphs)
    sampler = sampler if is_first_call else tried(sampler)
    assert_same(run(encoder, lambda: sampler(ITEMS))[1], expected)
    assert encoder.sums == [float(part.sum()) for part in ITEMS.split(4)]
    assert encoder.shapes == [6] * NUM_CALLS
    assert [x.tolist() for x in encoder.by_name["first"]] == ITEMS[::4].tolist()
    assert encoder.by_value == {float(part[0, 0]): len(part) for part in ITEMS.split(4)}
    assert encoder.object.count == 10
    for found in (encoder.total, encoder.seen):
        torch.testing.assert_close(found.double(), ITEMS.sum(dim=0))
    torch.testing.assert_close(encoder.object.sum.double(), ITEMS.sum())
    assert len(encoder.last) == 2


def test_a_list_that_is_only_appended_to_keeps_an_entry_per_micro_batch() -> None:
    class Lists(nn.Linear):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.widths: list[int] = []

        def forward(self, items: Tensor) -> Tensor:
            self.widths.append(items.shape[1])
            return super().forward(items)

    assert assert_exact(Lists).widths == [6] * 2 * NUM_CALLS


class Rescales(nn.Linear):
    """Sets its weight in its first call."""

    is_set = False

    def forward(self, items: Tensor) -> Tensor:
        if not self.is_set:
            with torch.no_grad():
                self.rescale(items)
            self.is_set = True
        return super().forward(items)

    def rescale(self, items: Tensor) -> None:
        self.weight *= 0.5


class RescalesData(Rescales):
    """No version tells of it."""

    def rescale(self, items: Tensor) -> None:
        self.weight.data *= items.max()


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (Rescales, r"changed \['weight'\] in its forward .* call it on some items before"),
        (RescalesData, r"sets its parameters \['weight'\] .* call it on some items before"),
    ],
)
def test_weights_set_in_the_first_call_are_refused_after_one_change(
    encoder: type[nn.Module], message: str
) -> None:
    refused, direct = built(encoder), built(encoder)
    with pytest.raises(RuntimeError, match=message):
        sampler_of(refused)(ITEMS)
    # As after a plain call of the first micro-batch.
    direct(ITEMS[:4])
    assert torch.equal(refused.weight, direct.weight)
    assert refused.is_set
    expected = run(direct, lambda: direct(ITEMS))[1]
    assert_same(run(refused, lambda: sampler_of(refused)(ITEMS))[1], expected)


class Detaches(nn.Linear):
    """A counter in an object that is no module decides whether it is trained."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.schedule = SimpleNamespace(num_calls=0)

    def forward(self, items: Tensor) -> Tensor:
        self.schedule.num_calls += 1
        output = super().forward(items)
        return output if self.schedule.num_calls == 1 else output.detach() + 0 * output


def test_a_counter_in_a_plain_object_is_put_back() -> None:
    encoder = assert_exact(Detaches, steps=3)
    assert encoder.schedule.num_calls == 3


class ByState(Function):
    """A backward that reads what the forward left on its module, as reversible layers do."""

    @staticmethod
    def forward(ctx: Any, items: Tensor, weight: Tensor, module: nn.Module) -> Tensor:
        ctx.module = module
        module.kept_items = items
        return items @ weight.T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, gradient.T @ ctx.module.kept_items, None


class ByStateInObject(ByState):
    """It lies in an object that each call makes anew."""

    @staticmethod
    def forward(ctx: Any, items: Tensor, weight: Tensor, module: nn.Module) -> Tensor:
        ctx.module = module
        module.saved = SimpleNamespace(items=items, owner=module)
        return items @ weight.T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, gradient.T @ ctx.module.saved.items, None


class ByStateInClosure(ByState):
    """It lies in a function, which cannot be compared with that of another call."""

    @staticmethod
    def forward(ctx: Any, items: Tensor, weight: Tensor, module: nn.Module) -> Tensor:
        ctx.module = module
        module.saved = lambda: items
        return items @ weight.T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, gradient.T @ ctx.module.saved(), None


@pytest.mark.parametrize("kept_graphs", [0, 1, 3])
@pytest.mark.parametrize("function", [ByState, ByStateInObject, ByStateInClosure])
def test_a_backward_that_reads_the_module_sees_its_own_micro_batch(
    function: type[ByState], kept_graphs: int
) -> None:
    class Reversible(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            return function.apply(items, self.weight, self) + self.bias

    assert_exact(Reversible, kept_graphs=kept_graphs)


class Caches(nn.Linear):
    """A product of weights kept from the first call on."""

    product: Tensor | None = None

    def forward(self, items: Tensor) -> Tensor:
        if self.product is None:
            self.product = self.weight * self.weight
        return items @ self.product.T


@pytest.mark.parametrize("items", [ITEMS, ITEMS[:3]])
def test_a_cached_weight_is_no_constant_for_the_next_call(items: Tensor) -> None:
    """Without the sampler, autograd refuses to go through the used graph, too."""
    encoder = built(Caches)
    sampler = sampler_of(encoder)
    expected = gradients_of(built(Caches))
    direct = built(Caches)
    expected = run(direct, lambda: direct(items))[1]
    assert_same(run(encoder, lambda: sampler(items))[1], expected)
    for call in (direct, sampler):
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            call(items).sum().backward()
    encoder.product = None
    encoder.zero_grad()
    assert_same(run(encoder, lambda: sampler(items))[1], expected)


def test_a_backbone_that_the_forward_puts_into_eval_mode_is_accepted() -> None:
    class Frozen(nn.Module):
        def __init__(self, *sizes: int) -> None:
            super().__init__()
            self.backbone = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
            self.head = nn.Linear(6, 4)

        def forward(self, items: Tensor) -> Tensor:
            self.backbone.eval()
            with torch.no_grad():
                hidden = self.backbone(items)
            return self.head(hidden)

    encoder = assert_exact(Frozen, allow_batch_norm=True)
    assert not encoder.backbone.training
    assert encoder.training


def test_buffers_that_a_first_call_resizes_are_put_back() -> None:
    class Observes(nn.Linear):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.register_buffer("shape", torch.empty(0, dtype=torch.int64))

        def forward(self, items: Tensor) -> Tensor:
            if self.shape.numel() == 0:
                self.shape.resize_(2).copy_(torch.tensor([6, 4]))
            return super().forward(items) * self.shape[1]

    assert assert_exact(Observes).shape.tolist() == [6, 4]


@pytest.mark.parametrize("size", [1, 4])
def test_a_recorder_beside_an_iteration_of_its_own_is_exact(size: int) -> None:
    class Both(nn.Module):
        def __init__(self, *sizes: int) -> None:
            super().__init__()
            self.linear = nn.utils.parametrizations.spectral_norm(nn.Linear(*sizes))

        def forward(self, items: Tensor) -> Tensor:
            self.last = self.linear(items).tanh()
            return self.last

    assert_exact(Both, rtol=1e-11, micro_batch_size=size)


def test_buffers_that_later_calls_depend_on_are_refused_and_left_as_they_were() -> None:
    class Codes(nn.Linear):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.register_buffer("code", torch.zeros(4))

        def forward(self, items: Tensor) -> Tensor:
            output = super().forward(items) - self.code
            self.code.lerp_(output.detach().mean(dim=0), 0.1)
            return output

    encoder = built(Codes)
    with pytest.raises(RuntimeError, match=r"the encoder's \['code'\] change differently"):
        sampler_of(encoder)(ITEMS)
    assert torch.equal(encoder.code, torch.zeros(4, dtype=torch.float64))


class Carries(nn.Linear):
    """A state that goes on from call to call, read before it is written."""

    state: Any = None

    def forward(self, items: Tensor) -> Tensor:
        output = super().forward(items)
        output = output if self.state is None else output - self.state
        self.state = 0.9 * output.detach().mean(dim=0)
        return output


def test_state_that_the_next_call_reads_is_refused_when_it_is_read() -> None:
    encoder, looped = built(Carries), built(Carries)
    sampler = sampler_of(encoder)
    expected = run(looped, lambda: looped(ITEMS[:8]))[1]
    assert_same(run(encoder, lambda: sampler(ITEMS[:8]))[1], expected)
    # Each started from the state of the call, and the last one's stays.
    looped.state = None
    looped(ITEMS[4:8])
    assert torch.equal(encoder.state, looped.state)
    with pytest.raises(RuntimeError, match=r"the encoder's \['state'\] change differently"):
        sampler(ITEMS[:8])


def test_what_changes_with_gradients_only_is_put_back() -> None:
    class Once(nn.Linear):
        is_seen = False
        cache: Tensor | None = None

        def forward(self, items: Tensor) -> Tensor:
            output = super().forward(items)
            if output.requires_grad:
                self.cache = 2 * self.bias if self.cache is None else self.cache
                output = output.detach() + 0 * output if self.is_seen else output + self.cache
                self.is_seen = True
            return output if output.requires_grad else output + 2 * self.bias

    assert_exact(Once, steps=1)


class RenewsHook(nn.Linear):
    """Its hook is registered anew in each call."""

    handle: Any = None

    def forward(self, items: Tensor) -> Tensor:
        if self.handle is not None:
            self.handle.remove()
        self.handle = self.register(lambda gradient: 0.5 * gradient)
        return super().forward(items)

    def register(self, hook: Callable[[Tensor], Tensor]) -> Any:
        return self.weight.register_hook(hook)


class HooksLate(RenewsHook):
    def register(self, hook: Callable[[Tensor], Tensor]) -> Any:
        return self.weight.register_post_accumulate_grad_hook(lambda weight: None)


def test_hooks_registered_with_gradients_only_are_refused() -> None:
    class Hooks(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                self.weight.register_hook(lambda gradient: 0.5 * gradient)
            return super().forward(items)

    loss = sampler_of(built(Hooks))(ITEMS).sum()
    with pytest.raises(RuntimeError, match=r"registered hooks on \['weight'\]"):
        loss.backward()


@pytest.mark.parametrize(
    ("encoder", "num_items", "kept_graphs"),
    [(RenewsHook, *case) for case in ((10, 0), (10, 3), (3, 0), (3, 1))]
    # Hooks after accumulation on aliases, in kept graphs, are not seen: estimates have them too.
    + [(HooksLate, *case) for case in ((10, 0), (10, 1), (3, 0))],
)
def test_hooks_on_parameters_are_refused_in_every_call(
    encoder: type[nn.Module], num_items: int, kept_graphs: int
) -> None:
    refused = built(encoder)
    refused(ITEMS)
    with pytest.raises(RuntimeError, match=r"registered hooks on \['weight'\] in its forward pass"):
        sampler_of(refused, kept_graphs=kept_graphs)(ITEMS[:num_items])
    assert len([*(refused.weight._backward_hooks or ())]) <= 1


def test_data_dependent_initialisation_is_refused_after_one_change_with_one_micro_batch() -> None:
    refused, direct = built(RescalesData), built(RescalesData)
    with pytest.raises(RuntimeError, match=r"sets its parameters \['weight'\] through .data"):
        sampler_of(refused)(ITEMS[:3])
    direct(ITEMS[:3])
    assert torch.equal(refused.weight, direct.weight)
    assert refused.is_set


HOLDERS: dict[str, Callable[[], Any]] = {
    "counter": Counter,
    "list of its own": type("Log", (list,), {}),
    "ordered": OrderedDict,
    "in itself": lambda: itself({}),
    "of modules": lambda: nn.Linear(1, 1)._parameters,
}


def itself(held: dict[Any, Any]) -> dict[Any, Any]:
    held["self"] = held
    return held


@pytest.mark.parametrize("name", HOLDERS)
def test_containers_of_every_kind_are_put_back(name: str) -> None:
    class Holds(nn.Linear):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.held = HOLDERS[name]()

        def forward(self, items: Tensor) -> Tensor:
            num_calls = 1
            if isinstance(self.held, list):
                self.held.append(self)
                num_calls = len(self.held)
            elif name != "of modules":
                self.held["calls"] = num_calls = self.held.get("calls", 0) + 1
            return super().forward(items) / num_calls

    encoder = assert_exact(Holds)
    assert name == "of modules" or (encoder.held[-1] if name == "list of its own" else True)


def test_the_order_of_a_dict_is_put_back() -> None:
    class Turns(nn.Linear):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.factors = OrderedDict(a=1.0, b=2.0, c=3.0)

        def forward(self, items: Tensor) -> Tensor:
            name, factor = self.factors.popitem(last=False)
            self.factors[name] = factor
            return super().forward(items) * factor

    assert [*assert_exact(Turns).factors] == ["c", "a", "b"]


def test_an_object_that_is_first_seen_inside_of_another_is_put_back() -> None:
    class Shares(Detaches):
        def __init__(self, *sizes: int) -> None:
            nn.Linear.__init__(self, *sizes)
            schedule = SimpleNamespace(num_calls=0)
            self.trainer = SimpleNamespace(schedule=schedule)
            self.schedule = schedule

    assert assert_exact(Shares, steps=2).schedule.num_calls == 2


VALUES: dict[str, Callable[[], Any]] = {
    "array": lambda: np.zeros(()),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "dead proxy": lambda: weakref.proxy(Counter()),
    "leaf": lambda: torch.ones(2, requires_grad=True),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("name", VALUES)
def test_values_of_every_type_are_accepted(name: str) -> None:
    class Keeps(nn.Linear):
        last: Any = None

        def forward(self, items: Tensor) -> Tensor:
            vars(self)["last"] = VALUES[name]()
            return super().forward(items)

    encoder = built(Keeps)
    sampler_of(encoder, kept_graphs=1)(ITEMS).sum().backward()
    assert encoder.weight.grad is not None


def test_names_of_attributes_are_no_parts_of_modules() -> None:
    class Named(nn.Linear):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.used_modules: list[str] = []
            self.log_buffers: dict[str, float] = {}
            self.state_hooks: dict[str, float] = {}

        def forward(self, items: Tensor) -> Tensor:
            self.used_modules.append("linear")
            self.log_buffers["mean"] = self.state_hooks["mean"] = float(items.mean())
            return super().forward(items)

    encoder = assert_exact(Named, steps=1)
    assert encoder.used_modules == ["linear"] * NUM_CALLS


def test_statistics_that_features_do_not_depend_on_follow_all_items() -> None:
    encoder = nn.Sequential(nn.InstanceNorm1d(3, track_running_stats=True)).double()
    looped = nn.Sequential(nn.InstanceNorm1d(3, track_running_stats=True)).double()
    items = torch.randn(8, 3, 5, dtype=torch.float64, requires_grad=True)
    sampler_of(encoder)(items).sum().backward()
    for part in items.split(4):
        looped(part)
    for ours, theirs in zip(encoder.buffers(), looped.buffers(), strict=True):
        assert relative_error(ours.double(), theirs.double()) <= RTOL


def test_transformers_install_their_hooks_once() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.ViTConfig(**sizes, intermediate_size=8, image_size=4, patch_size=2)

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = transformers.ViTModel(config, add_pooling_layer=False)

        def forward(self, images: Tensor) -> Tensor:
            found = self.model(images, output_hidden_states=True).hidden_states
            assert len(found) == 3
            return torch.stack(found[1:], dim=1)

    encoder = Hidden()
    sampler_of(encoder)(torch.randn(10, 3, 4, 4)).sum().backward()
    assert len(encoder.model(torch.randn(2, 3, 4, 4), output_hidden_states=True)[1]) == 3


def test_attributes_changed_between_the_passes_are_as_in_the_call() -> None:
    class Scaled(nn.Linear):
        scale = torch.ones(())

        def forward(self, items: Tensor) -> Tensor:
            return super().forward(items) * self.scale * self.factor

    encoder = built(Scaled)
    encoder.factor, encoder.scale = 2.0, torch.ones(())
    expected = run(encoder, lambda: encoder(ITEMS))[1]
    encoder.zero_grad()
    loss = coupling_loss(sampler_of(encoder)(ITEMS))
    encoder.factor = 3.0
    encoder.scale += 1
    loss.backward()
    assert_same(gradients_of(encoder), expected)
    assert (encoder.factor, float(encoder.scale)) == (3.0, 2.0)
