"""A frozen stem and an encoder give the gradients of their sequence, with less work."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from samplers import DPP, Random
from sgs import FrozenStem, SequentialGradientSampler, Shared, equivalence_report
from sgs.items.stem_cache import StemCache
from tests.reference import assert_same, coupling_loss, gradients_of, run
from tests.sgs.encoders import ENCODERS, EncoderCase
from tests.sgs.kinds import KINDS

NUM_ITEMS, SIZE = 11, 3
STRATEGIES = {"random": Random(), "dpp": DPP()}


class Scale(nn.Module):
    """A frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.7, dtype=torch.float64), requires_grad=False)

    def forward(self, items: Tensor) -> Tensor:
        return items * self.factor


class Noise(nn.Module):
    """Draws random numbers, as an augmentation does."""

    def forward(self, items: Tensor) -> Tensor:
        return items + 0.1 * torch.randn_like(items)


def sampler_of(encoder: nn.Module, **options: Any) -> SequentialGradientSampler:
    return SequentialGradientSampler(
        encoder,
        micro_batch_size=SIZE,
        generator=torch.Generator().manual_seed(3),
        **options,
    )


def trained(case: EncoderCase, lead: tuple[int, ...], **options: Any) -> Any:
    """Return the gradients of one step with a sampler."""
    encoder, items = case.make(), case.items(*lead)
    sampler = sampler_of(encoder, item_dim=len(lead) - 1, **options)
    torch.manual_seed(2)
    return run(encoder, lambda: sampler(items))[1]


@pytest.mark.parametrize("kept", [0, 2])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("case", ENCODERS.values(), ids=ENCODERS)
def test_gradients_are_those_of_the_sequence(
    case: EncoderCase, ratio: float, strategy: str, kept: int
) -> None:
    options = {"ratio": ratio, "sampler": STRATEGIES[strategy]}
    if strategy == "dpp" and case is ENCODERS["dict_output"]:
        options["sampler"] = Random()
    stem, calls = Scale(), []
    stem.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    ours = trained(case, (NUM_ITEMS,), **options, frozen_stem=stem, kept_graphs=kept)
    encoder, items = case.make(), case.items(NUM_ITEMS)
    sequence = sampler_of(nn.Sequential(Scale(), encoder), **options)
    torch.manual_seed(2)
    assert_same(ours, run(encoder, lambda: sequence(items))[1])
    # Once for every micro-batch of the first pass, and twice to try whether items interact.
    assert calls == [False] * (-(-NUM_ITEMS // SIZE) + 2)


def test_the_sequence_is_one_naive_graph() -> None:
    case = ENCODERS["transformer_block"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    sampler = sampler_of(encoder, frozen_stem=Scale())
    assert_same(
        run(encoder, lambda: sampler(items))[1], run(encoder, lambda: encoder(items * 0.7))[1]
    )


# The last one restores its generator after drawing, so its draw is not detected.
@pytest.mark.parametrize("name", ["linear", "dropout", "generator_set_back"])
@pytest.mark.parametrize("lead", [(NUM_ITEMS,), (3, NUM_ITEMS)])
def test_random_stem_is_not_drawn_again(name: str, lead: tuple[int, ...]) -> None:
    """Its outputs are kept, and the encoder draws the random numbers that follow its own."""
    case = EncoderCase(KINDS[name])
    ours = trained(case, lead, frozen_stem=Noise())
    encoder, items = case.make(), case.items(*lead).flatten(0, len(lead) - 1)
    torch.manual_seed(2)
    noise = Noise()

    def naive() -> Tensor:
        parts = [encoder(noise(items[index])) for index in torch.arange(len(items)).split(SIZE)]
        return torch.cat(parts).unflatten(0, lead)

    assert_same(ours, run(encoder, naive)[1])


def test_a_stem_runs_in_evaluation_too() -> None:
    encoder, items = nn.Linear(3, 4).double(), torch.randn(NUM_ITEMS, 3, dtype=torch.float64)
    sampler = sampler_of(encoder, frozen_stem=Scale())
    with torch.no_grad():
        assert torch.allclose(sampler(items), encoder(items * 0.7))


def test_encoder_that_changes_what_it_receives_meets_the_same_again() -> None:
    class Doubles(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            return super().forward(items.mul_(2))

    encoder, items = Doubles(3, 4).double(), torch.randn(NUM_ITEMS, 3, dtype=torch.float64)
    before = items.clone()
    sampler = sampler_of(encoder, frozen_stem=nn.Identity())
    expected = run(encoder, lambda: encoder(items.clone()))[1]
    assert_same(run(encoder, lambda: sampler(items))[1], expected)
    assert torch.equal(items, before)


def test_stem_may_return_a_tree_with_constants() -> None:
    class Tree(nn.Module):
        def forward(self, items: Tensor, scale: float) -> dict[str, Any]:
            return {"low": (items * scale, 2.0), "index": items.argmax(dim=1)}

    class Reads(nn.Linear):
        def forward(self, tree: dict[str, Any]) -> Tensor:
            low, factor = tree["low"]
            return super().forward(low) * factor + tree["index"][:, None]

    encoder, items = Reads(3, 4).double(), torch.randn(NUM_ITEMS, 3, dtype=torch.float64)
    expected = run(encoder, lambda: encoder(Tree()(items, 0.5)))[1]
    sampler = sampler_of(encoder, frozen_stem=FrozenStem(Tree(), cache_device="cpu"))
    assert_same(run(encoder, lambda: sampler(items, scale=0.5))[1], expected)


def test_only_sampled_items_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Tensor] = []
    add = StemCache.add
    monkeypatch.setattr(
        StemCache, "add", lambda self, index, x: (kept.append(index), add(self, index, x))[1]
    )
    sampler = sampler_of(nn.Linear(3, 4), ratio=0.4, frozen_stem=nn.Identity())
    sampler(torch.randn(NUM_ITEMS, 3)).sum().backward()
    assert torch.equal(torch.cat(kept).sort().values, sampler.last_index)


def test_a_second_backward_is_the_first_one_again() -> None:
    case = ENCODERS["dropout"]
    encoder, items = case.make(), case.items(NUM_ITEMS)
    sampler = sampler_of(encoder, frozen_stem=Noise(), kept_graphs=1)
    loss = coupling_loss(sampler(items))
    loss.backward(retain_graph=True)
    first = gradients_of(encoder)
    encoder.zero_grad()
    loss.backward()
    assert_same(gradients_of(encoder), first)


def test_explicit_form_takes_the_drawn_items_and_refuses_others() -> None:
    encoder, items = nn.Linear(3, 4).double(), torch.randn(NUM_ITEMS, 3, dtype=torch.float64)
    sampler = sampler_of(encoder, ratio=0.5, frozen_stem=Scale())
    encoded = sampler.encode(items)
    others = [i for i in range(NUM_ITEMS) if i not in encoded.index]
    gradient = torch.ones_like(encoded.features)
    encoded.backward(gradient, encoded.index[:2])
    expected = (items[encoded.index[:2]] * 0.7).sum(dim=0)
    assert torch.allclose(encoder.weight.grad, expected.expand(4, 3))
    with pytest.raises(RuntimeError, match=rf"items \[{others[0]}\] were not kept"):
        encoded.backward(gradient, torch.tensor(others[:1]))


def test_report_compares_with_the_sequence() -> None:
    torch.manual_seed(0)
    sampler = SequentialGradientSampler(
        ENCODERS["conv3d"].make(), micro_batch_size=2, frozen_stem=Scale()
    )
    report = equivalence_report(sampler, ENCODERS["conv3d"].items(5))
    assert report.is_exact, report


def test_no_items_are_encoded_too() -> None:
    sampler = sampler_of(nn.Linear(3, 4), frozen_stem=nn.Identity())
    features = sampler(torch.randn(0, 3))
    features.sum().backward()
    assert features.shape == (0, 4)


def test_cache_returns_rows_of_several_micro_batches_in_the_order_asked_for() -> None:
    cache, items = StemCache(9, device=None), torch.arange(9.0)[:, None]
    for index in (torch.tensor([1, 6, 8]), torch.tensor([0, 3]), torch.tensor([4, 5])):
        cache.add(index, {"x": items[index], "n": 3})
    for wanted in ([0, 1, 3, 4, 8], [1, 6, 8], [5], [8, 0, 6], []):
        index = torch.tensor(wanted, dtype=torch.int64)
        found = cache.take(index)
        assert torch.equal(found["x"], items[index])
        assert found["n"] == 3


REFUSED_WHEN_CALLED = [
    ({"frozen_stem": nn.Linear(3, 3)}, ValueError, r"frozen_stem=...\): its parameters \['weight'"),
    ({"frozen_stem": nn.BatchNorm1d(3, affine=False)}, ValueError, "BatchNorm"),
    ({"frozen_stem": nn.Flatten(0)}, ValueError, r"shapes \[\[9\]\] for 3 item\(s\): expected one"),
]


@pytest.mark.parametrize(("options", "error", "message"), REFUSED_WHEN_CALLED)
def test_stem_that_would_lose_something_is_refused(
    options: dict[str, nn.Module], error: type[Exception], message: str
) -> None:
    sampler = sampler_of(nn.Linear(3, 4), **options)
    with pytest.raises(error, match=message):
        sampler(torch.randn(NUM_ITEMS, 3))


@pytest.mark.parametrize("shared", [False, True])
def test_gradients_that_the_stem_would_lose_are_refused(shared: bool) -> None:
    sampler = sampler_of(nn.Linear(3, 4), frozen_stem=nn.Identity())
    wanted = torch.randn(NUM_ITEMS, 3, requires_grad=True)
    arguments = (wanted.detach(), Shared(wanted)) if shared else (wanted,)
    with pytest.raises(ValueError, match=r"frozen_stem=...\): an argument of the call requires"):
        sampler(*arguments)
