"""Errors: each message names the expected value, the actual value and the way out."""

from collections import UserDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from samplers import AbstractSampler, Candidates, FarthestPoint, IoUBalanced, Random
from sgs import FrozenStem, SequentialGradientSampler, Shared
from sgs.sizes import Sizes
from tests.sgs.encoders import tried

pytestmark = pytest.mark.usefixtures("raw_errors")

ARGUMENTS = [
    ({"micro_batch_size": 0}, ValueError, r"micro_batch_size=0\): expected an integer of at least"),
    ({"micro_batch_size": 2.0}, ValueError, r"micro_batch_size=2.0\): expected an integer"),
    ({"forward_micro_batch_size": 0}, ValueError, r"forward_micro_batch_size=0\): expected an int"),
    ({"ratio": 0}, ValueError, r"ratio=0\): expected a value in \(0, 1\], got 0. To train only"),
    ({"ratio": "0.5"}, ValueError, r"ratio='0.5'\): expected a value in"),
    ({"ratio": 1.5}, ValueError, r"ratio=1.5\): expected a value in \(0, 1\], got 1.5. Pass a fr"),
    (
        {"ratio": 30},
        ValueError,
        "got 30. Pass a fraction, 0.3 for 30 %",
    ),
    ({"ratio": -1}, ValueError, "freeze the encoder"),
    ({"ratio": True}, ValueError, r"ratio=True\): expected a value"),
    ({"weights": "ht"}, ValueError, r"weights='ht'\): expected one of \('inverse_probability'"),
    ({"sampler": "random"}, TypeError, r"sampler='random'\): expected a strategy object"),
    ({"sampler": IoUBalanced()}, ValueError, r"requires \['tiou'\], which does not exist"),
    ({"sampler": FarthestPoint(), "ratio": 0.5}, ValueError, "has no inclusion probability"),
    ({"item_dim": -1}, ValueError, r"item_dim=-1\): expected an integer of at least 0: 0 for it"),
    ({"check_replay": 2.0}, ValueError, r"check_replay=2.0\): expected True, False or a tolerance"),
    ({"kept_graphs": -1}, ValueError, r"kept_graphs=-1\): expected an integer of at least 0"),
    ({"kept_graphs": True}, ValueError, r"kept_graphs=True\): expected an integer of at least 0"),
    ({"frozen_stem": "x"}, TypeError, r"frozen_stem=str: expected an nn.Module"),
    ({"micro_batch_size": True}, ValueError, "micro_batch_size=True\\): expected an integer"),
    ({"generator": 0}, TypeError, r"generator=0\): expected a torch.Generator or None"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), ARGUMENTS)
def test_bad_argument_is_refused_when_built(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        SequentialGradientSampler(nn.Linear(3, 4), **{"micro_batch_size": 2} | arguments)


@pytest.mark.parametrize(("arguments", "error", "message"), ARGUMENTS, ids=lambda x: str(x)[:40])
def test_bad_option_is_refused_when_changed(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """When the option is set, or in the next call if the error depends on two options."""
    sampler = SequentialGradientSampler(nn.Linear(3, 4), micro_batch_size=2)

    def change_and_call() -> None:
        for name, value in arguments.items():
            setattr(sampler, name, value)
        sampler(torch.randn(4, 3))

    with pytest.raises(error, match=message):
        change_and_call()


def test_the_first_pass_follows_a_changed_size() -> None:
    sampler = SequentialGradientSampler(nn.Linear(3, 4), micro_batch_size=2)
    sampler.micro_batch_size = 5
    assert sampler.sizes == Sizes(5, 5, 0)
    sampler.forward_micro_batch_size = 7
    assert sampler.sizes == Sizes(5, 7, 0)


def test_numbers_of_numpy_are_options(raw_errors: None) -> None:
    sampler = SequentialGradientSampler(
        nn.Linear(3, 4), micro_batch_size=np.int64(2), ratio=np.float32(0.5), item_dim=np.int8(0)
    )
    assert len(sampler(torch.randn(4, 3))) == 4
    assert len(sampler.last_index) == 2


def notes_of(encoder: nn.Module, items: Tensor, **options: Any) -> str:
    """Return the note on the error of a call."""
    with pytest.raises(RuntimeError) as caught:
        SequentialGradientSampler(encoder, micro_batch_size=2, **options)(items).sum().backward()
    return "".join(caught.value.__notes__)


class Forces(nn.Module):
    """Returns the gradient of an energy with respect to the items.

    Args:
        grad_mode: The context that it is computed in.
    """

    def __init__(self, grad_mode: Callable[[], AbstractContextManager[Any]]) -> None:
        super().__init__()
        self.grad_mode = grad_mode
        self.energy = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, items: Tensor) -> Tensor:
        with self.grad_mode():
            items = items.clone().requires_grad_()
            return torch.autograd.grad(self.energy(items).sum(), items, create_graph=True)[0]


def test_an_encoder_that_takes_gradients_must_enable_them() -> None:
    items = torch.randn(5, 3)
    with pytest.raises(
        RuntimeError, match=r"takes gradients itself.* `with torch.enable_grad"
    ) as caught:
        SequentialGradientSampler(Forces(nullcontext), micro_batch_size=2)(items)
    assert "was encoding 2 of 5 items" in "".join(caught.value.__notes__)
    encoder = Forces(torch.enable_grad)
    encoder(items).square().sum().backward()
    expected = encoder.energy[0].weight.grad
    encoder.zero_grad()
    SequentialGradientSampler(encoder, micro_batch_size=2)(items).square().sum().backward()
    torch.testing.assert_close(encoder.energy[0].weight.grad, expected)


def test_other_errors_about_gradients_are_not_replaced() -> None:
    """With gradients enabled, the encoder is at fault."""
    encoder = Returns(lambda x: torch.autograd.grad(x.detach().sum(), x))
    with pytest.raises(RuntimeError, match="element 0 of tensors does not require grad"):
        SequentialGradientSampler(encoder, micro_batch_size=2, kept_graphs=1)(torch.randn(2, 3))


@pytest.mark.parametrize("trains", [True, False])
def test_errors_of_the_encoder_name_the_micro_batch(trains: bool) -> None:
    encoder = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 4)).requires_grad_(trains)
    note = notes_of(encoder, torch.randn(7, 3))
    assert "was encoding 2 of 7 items, from position [0], cut along item_dim=0 of" in note
    assert "as tensors of shapes [[2, 3]]. If the items are [B, N, ...]" in note


def test_a_forgotten_item_dim_is_named() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    note = notes_of(encoder, torch.randn(4, 5, 2, 3))
    assert "shapes [[2, 5, 2, 3]]. If the items are [B, N, ...], with a video dimension fi" in note
    assert "pass item_dim=0" in notes_of(encoder, torch.randn(4, 2, 3), item_dim=1)


def test_errors_of_the_stem_and_of_the_second_pass_are_explained() -> None:
    class FailsWithGradients(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                raise RuntimeError("with gradients")
            return super().forward(items)

    assert "encoding 2 of 7 items" in notes_of(FailsWithGradients(3, 4), torch.randn(7, 3))
    stem = nn.Linear(2, 3).requires_grad_(False)
    assert "shapes [[2, 3]]" in notes_of(nn.Linear(3, 4), torch.randn(7, 3), frozen_stem=stem)


def test_exceptions_that_take_no_notes_are_left_alone() -> None:
    @dataclass(frozen=True)
    class Broken(Exception):
        why: str

        def __str__(self) -> str:
            return self.why

    class Breaks(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            raise Broken("as said")

    sampler = SequentialGradientSampler(Breaks(3, 4).requires_grad_(False), micro_batch_size=2)
    with pytest.raises(Broken, match="as said"):
        sampler(torch.randn(4, 3))


def test_a_stem_may_be_set_later() -> None:
    sampler = SequentialGradientSampler(nn.Linear(3, 4), micro_batch_size=2)
    items = torch.randn(4, 3)
    for stem in (FrozenStem(nn.Tanh(), "cpu"), nn.Tanh(), FrozenStem(nn.Tanh())):
        sampler.frozen_stem = stem
        assert torch.allclose(sampler(items), sampler.encoder(items.tanh()))
        assert isinstance(sampler.frozen_stem, nn.Tanh)
        assert sampler.stem_cache_device == getattr(stem, "cache_device", None)
    sampler.frozen_stem = None
    assert torch.allclose(sampler(items), sampler.encoder(items))
    with pytest.raises(TypeError, match=r"frozen_stem=function: expected an nn\.Module"):
        sampler.frozen_stem = lambda items: items


def test_encoder_that_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"encoder=function\): expected an nn.Module"):
        SequentialGradientSampler(lambda items: items, micro_batch_size=2)


def test_part_of_an_encoder_wrapped_in_ddp_is_refused() -> None:
    wrapped = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(wrapped)
    with pytest.raises(TypeError, match="Wrap the encoder as a whole, or the whole model"):
        SequentialGradientSampler(nn.Sequential(wrapped), micro_batch_size=2)


def test_data_parallel_is_refused() -> None:
    with pytest.raises(TypeError, match="Use DistributedDataParallel"):
        SequentialGradientSampler(nn.DataParallel(nn.Linear(3, 4)), micro_batch_size=2)


def test_cached_parametrizations_are_refused() -> None:
    encoder = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    sampler = SequentialGradientSampler(encoder, micro_batch_size=2)
    with (
        nn.utils.parametrize.cached(),
        pytest.raises(RuntimeError, match=r"inside of torch.nn.utils.parametrize.cached\(\)"),
    ):
        sampler(torch.randn(4, 3))


def test_parameter_that_is_not_registered_is_refused() -> None:
    class Outside(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            return super().forward(items) * self.scale[0]

    encoder = Outside(3, 4)
    encoder.scale = [nn.Parameter(torch.ones(4))]
    loss = SequentialGradientSampler(encoder, micro_batch_size=2)(torch.randn(4, 3)).sum()
    with pytest.raises(RuntimeError, match=r"a parameter of shape \[4\] that is not one of the"):
        loss.backward()


@dataclass
class Batch:
    frames: Tensor


HIDDEN = {
    "dataclass": Batch(torch.randn(4, 3)),
    "mapping": UserDict(frames=torch.randn(4, 3)),
    "array": np.zeros((4, 3)),
}


@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
def test_tensors_that_cannot_be_cut_are_refused(hidden: object) -> None:
    class First(nn.Linear):
        def forward(self, items: Tensor, other: object) -> Tensor:
            return super().forward(items)

    sampler = SequentialGradientSampler(First(3, 4), micro_batch_size=2)
    with pytest.raises(TypeError, match=f"an argument is a {type(hidden).__name__}: expected"):
        sampler(torch.randn(4, 3), hidden)
    sampler(torch.randn(4, 3), Shared(hidden))


def test_nested_tensors_are_refused() -> None:
    items = torch.nested.nested_tensor([torch.randn(2, 3), torch.randn(4, 3)], layout=torch.jagged)
    with pytest.raises(TypeError, match="expected a padded tensor and a mask"):
        SequentialGradientSampler(nn.Linear(3, 4), micro_batch_size=2)(items)


def test_strategy_without_probability_is_fine_where_nothing_is_weighted() -> None:
    encoder = nn.Linear(3, 4)
    SequentialGradientSampler(encoder, micro_batch_size=2, sampler=FarthestPoint())
    SequentialGradientSampler(
        encoder, micro_batch_size=2, sampler=FarthestPoint(), ratio=0.5, weights="none"
    )


CALLS = [
    ((), "the arguments hold no tensor of items"),
    (("text",), "the arguments hold no tensor of items"),
    (
        ({"a": torch.randn(4, 3), "b": torch.randn(5)},),
        r"shapes \[\[4, 3\], \[5\]\] \(item_dim=0\)",
    ),
    (
        (torch.randn(4, 3), torch.tensor(0.1)),
        r"Wrap what all items share in Shared\(...\)",
    ),
]


@pytest.mark.parametrize(("args", "message"), CALLS)
def test_bad_call_is_refused(args: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequentialGradientSampler(nn.Linear(3, 4), micro_batch_size=2)(*args)


def test_items_without_an_item_dimension_are_refused() -> None:
    sampler = SequentialGradientSampler(nn.Linear(3, 4), micro_batch_size=2, item_dim=1)
    with pytest.raises(ValueError, match=r"expected the same first 2 dimension\(s\)"):
        sampler(torch.randn(4))


class Returns(nn.Module):
    """Returns a given function of its items."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.answer = answer

    def forward(self, items: Tensor) -> Any:
        return self.answer(items * self.scale)


@dataclass
class Wrapped:
    """A class that is not registered as a pytree."""

    features: Tensor


@dataclass
class DynamicCache:
    """Keys and values, named as the class of transformers."""

    keys: Tensor


OUTPUTS = [
    (lambda x: x.mean(), r"shape \[\] for a micro-batch of 2 item\(s\): expected 2 row\(s\)"),
    (lambda x: x[:1], r"shape \[1, 3\] for a micro-batch of 2 item\(s\)"),
    (lambda x: [x] * len(x), "expected the same structure for all items"),
    (lambda x: x[:, : len(x)], r"of shape \[1\] for one .* \[2\] for another.* Pad them"),
    (
        lambda x: x.double() if len(x) == 1 else x,
        r"returned torch.float64 for a micro-batch of 1 item\(s\) and torch.float32.* Cast the",
    ),
    (lambda x: (x, x.new_zeros(2, 4)), "a tensor whose first size does not follow the number of"),
    (lambda x: (x, DynamicCache(x)), "returned a DynamicCache: .* Pass use_cache=False"),
    (Wrapped, "the encoder returned a Wrapped: expected tensors and constants"),
    (lambda x: (x, len(x)), "expected outputs other than tensors to be the same for all items"),
]


@pytest.mark.parametrize(("answer", "message"), OUTPUTS)
def test_bad_encoder_output_is_refused(answer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tried(SequentialGradientSampler(Returns(answer), micro_batch_size=2))(torch.randn(5, 3))


def test_a_table_expanded_to_the_items_is_accepted() -> None:
    """The way out of a tensor that holds no items."""
    encoder = Returns(lambda x: (x, x.new_zeros(2, 4).expand(len(x), 2, 4)))
    _, table = SequentialGradientSampler(encoder, micro_batch_size=2)(torch.randn(5, 3))
    assert table.shape == (5, 2, 4)


def test_feature_guided_strategy_needs_a_single_tensor() -> None:
    sampler = SequentialGradientSampler(
        Returns(lambda x: (x, x)),
        micro_batch_size=2,
        ratio=0.5,
        sampler=FarthestPoint(),
        weights="none",
    )
    with pytest.raises(ValueError, match="the encoder returned 2 tensors: expected a single one"):
        sampler(torch.randn(6, 3))


def test_explicit_form_without_anything_to_train_is_refused() -> None:
    sampler = SequentialGradientSampler(nn.Linear(3, 4).requires_grad_(False), micro_batch_size=2)
    with pytest.raises(ValueError, match="there is nothing to train"):
        sampler.encode(torch.randn(6, 3))


GRADIENTS = [torch.ones(6, 3), torch.ones(5, 4), [torch.ones(6, 4)], [None], 1.0]


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_feature_gradient_of_another_shape_is_refused(gradient: Any) -> None:
    encoded = SequentialGradientSampler(nn.Linear(3, 4), micro_batch_size=2).encode(
        torch.randn(6, 3)
    )
    with pytest.raises(
        ValueError, match=r"in the structure of `features` and of shape \[\[6, 4\]\]"
    ):
        encoded.backward(gradient)


@pytest.mark.parametrize("index", [[0, 0], [6], [-1], []])
def test_bad_index_is_refused(index: list[int]) -> None:
    encoded = SequentialGradientSampler(nn.Linear(3, 4), micro_batch_size=2).encode(
        torch.randn(6, 3)
    )
    with pytest.raises(ValueError, match=r"expected distinct positions in \[0, 6\)"):
        encoded.backward(torch.ones(6, 4), torch.tensor(index, dtype=torch.int64))


INDICES = [
    [0, 1],
    torch.tensor([0.0, 1.0]),
    torch.tensor([[0, 1]]),
    torch.tensor([0, 1], dtype=torch.int32),
]


@pytest.mark.parametrize("index", INDICES)
def test_index_of_another_kind_is_refused(index: Any) -> None:
    encoded = SequentialGradientSampler(nn.Linear(3, 4), micro_batch_size=2).encode(
        torch.randn(6, 3)
    )
    with pytest.raises(ValueError, match=r"expected an int64 tensor of shape \['count'\]"):
        encoded.backward(torch.ones(6, 4), index)


def test_flat_index_of_several_videos_is_refused() -> None:
    sampler = SequentialGradientSampler(nn.Linear(3, 4), micro_batch_size=2, item_dim=1)
    encoded = sampler.encode(torch.randn(2, 6, 3))
    with pytest.raises(ValueError, match=r"expected an int64 tensor of shape \[2, 'count'\]"):
        encoded.backward(torch.ones(2, 6, 4), torch.tensor([0, 3, 1, 2]))


# Torch warns that lazy modules are a new feature.
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_parameters_without_values_are_refused() -> None:
    sampler = SequentialGradientSampler(nn.LazyLinear(4), micro_batch_size=2)
    with pytest.raises(ValueError, match=r"\['weight', 'bias'\] have no values yet"):
        sampler(torch.randn(6, 3))


@dataclass(frozen=True)
class AlwaysFirst(AbstractSampler):
    """A strategy from outside the library."""

    requires: ClassVar[frozenset[str]] = frozenset()

    @property
    def has_inclusion_probability(self) -> bool:
        return False

    def _sample(self, candidates: Candidates, count: int, generator: torch.Generator) -> Tensor:
        return torch.arange(count)

    def _inclusion_probability(self, candidates: Candidates, count: int) -> Tensor:
        raise ValueError("none")


def test_own_strategies_are_accepted() -> None:
    sampler = SequentialGradientSampler(
        nn.Linear(3, 4), micro_batch_size=2, ratio=0.5, sampler=AlwaysFirst(), weights="none"
    )
    sampler(torch.randn(6, 3)).sum().backward()
    assert sampler.last_index.tolist() == [0, 1, 2]
    assert isinstance(Random(), AbstractSampler)
    assert Shared(1).value == 1


def test_training_that_is_not_seen_is_refused() -> None:
    """A frozen encoder with an adapter that another module owns."""
    adapter, encoder = nn.Linear(4, 4), nn.Linear(3, 4).requires_grad_(False)
    encoder.register_forward_hook(lambda module, args, output: adapter(output))
    sampler = SequentialGradientSampler(encoder, micro_batch_size=2)
    with pytest.raises(RuntimeError, match="is not one of the encoder's"):
        sampler(torch.randn(5, 3))
    with torch.no_grad():
        assert sampler(torch.randn(5, 3)).shape == (5, 4)


def test_frozen_encoders_may_ask_for_gradients_of_their_own_tensors() -> None:
    class Asks(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            return super().forward(items).requires_grad_()

    sampler = SequentialGradientSampler(Asks(3, 4).requires_grad_(False), micro_batch_size=2)
    assert not sampler(torch.randn(5, 3)).requires_grad


@pytest.mark.parametrize(
    "values", [[4, 2, 3, 1, 5], ["a", "b", "c", "d", "e"]], ids=["numbers", "strings"]
)
def test_a_list_with_one_constant_per_item_is_refused(values: list[Any]) -> None:
    sampler = SequentialGradientSampler(TakesAnything(), micro_batch_size=2)
    with pytest.raises(TypeError, match="a list of 5 numbers or strings, as many as there are"):
        sampler(torch.randn(5, 3), {"lengths": values})
    assert sampler(torch.randn(5, 3), Shared(values)).shape == (5, 3)
    assert sampler(torch.randn(4, 3), values).shape == (4, 3)
    assert sampler(torch.randn(2, 3), [8, 8]).shape == (2, 3)


class TakesAnything(nn.Module):
    def forward(self, items: Tensor, rest: Any) -> Tensor:
        return items


def test_a_strategy_that_repeats_positions_is_refused() -> None:
    class Twice(Random):
        def sample(self, *args: Any, **options: Any) -> Tensor:
            return torch.tensor([1, 1])

    sampler = SequentialGradientSampler(
        nn.Linear(3, 4), micro_batch_size=2, ratio=0.5, sampler=Twice(), weights="none"
    )
    with pytest.raises(ValueError, match=r"drew \[\[1, 1\]\]: expected distinct positions"):
        sampler(torch.randn(4, 3))


def test_a_strategy_need_not_sort_its_positions() -> None:
    class Backwards(Random):
        def sample(self, *args: Any, **options: Any) -> Tensor:
            return torch.tensor([3, 0])

    sampler = SequentialGradientSampler(
        nn.Linear(3, 4), micro_batch_size=2, ratio=0.5, sampler=Backwards()
    )
    sampler(torch.randn(4, 3)).sum().backward()
    assert sampler.last_index.tolist() == [0, 3]


def test_modules_built_in_the_first_forward_are_refused() -> None:
    class BuildsItself(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(3, 4)

        def forward(self, items: Tensor) -> Tensor:
            if not hasattr(self, "head"):
                self.head = nn.Linear(4, 4)
            return self.head(self.stem(items))

    encoder = BuildsItself()
    sampler = SequentialGradientSampler(encoder, micro_batch_size=2)
    with pytest.raises(RuntimeError, match=r"its modules \['head'\] in its forward.*call it on"):
        sampler(torch.randn(5, 3))
    encoder(torch.randn(1, 3))
    sampler(torch.randn(5, 3)).sum().backward()
    assert encoder.head.weight.grad is not None


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("option", ["static_graph", "find_unused_parameters"])
def test_explicit_form_with_ddp_that_looks_for_a_graph_is_refused(option: str) -> None:
    wrapped = nn.parallel.DistributedDataParallel(nn.Linear(3, 4), **{option: True})
    sampler = SequentialGradientSampler(wrapped, micro_batch_size=2)
    with pytest.raises(ValueError, match="static_graph=True or find_unused_parameters=True"):
        sampler.encode(torch.randn(5, 3))
    sampler(torch.randn(5, 3)).sum().backward()


@pytest.mark.usefixtures("process_group")
def test_explicit_form_with_ddp_reduces_in_its_backward() -> None:
    wrapped = nn.parallel.DistributedDataParallel(nn.Linear(3, 4))
    encoded = SequentialGradientSampler(wrapped, micro_batch_size=2).encode(torch.randn(5, 3))
    encoded.backward(torch.ones(5, 4))
    assert torch.allclose(wrapped.module.bias.grad, torch.full((4,), 5.0))
