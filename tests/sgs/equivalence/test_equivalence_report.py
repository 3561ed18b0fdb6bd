"""The report on a user's encoder: true for exact encoders and for others."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import distribute_tensor
from torch.nn.parallel import DistributedDataParallel

import sgs.engine
from sgs import SequentialGradientSampler, Shared, equivalence_report
from sgs.equivalence.comparison import EquivalenceReport, ReportRow
from sgs.gradients.graph import back_propagate_rows
from tests.sgs.exactness.outcomes import ANYWHERE, Refused
from tests.sgs.exactness.settings import seed
from tests.sgs.families import FAMILIES
from tests.sgs.kinds import KINDS
from tests.sgs.kinds.plain import UnusedSubmodule
from tests.sgs.kinds.sharing import TiedWeights

# The shape checker draws from Python's random: encoders would seem to draw random numbers.
pytestmark = pytest.mark.usefixtures("raw_errors")

NUM_ITEMS = 6
SIZE = 4
# Rounding leaves up to 3e-13, of gradients that vanish.
EXACT = 1e-11

# Refused by the hook of a parameter, which a report does not call.
UNHOOKED = "parameter_hook_unused"
REFUSED = {
    name: outcome.message
    for name, outcome in ANYWHERE.items()
    if isinstance(outcome, Refused) and name != UNHOOKED
}
# Noise by place in the micro-batch differs from that of one call.
BY_PLACE = {"seeded_noise", "generator_set_back"}
ANSWERED = [name for name in KINDS if name not in REFUSED]


class TimeFirst(nn.Module):
    """A layer that reads the items of a call as the steps of one sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(4, 3)

    def forward(self, items: Tensor) -> Tensor:
        return self.recurrent(items)[0]


class AsksForGradients(nn.Module):
    """Another scale in the pass without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, items: Tensor) -> Tensor:
        return self.linear(items).tanh() * (1.0 if torch.is_grad_enabled() else 0.9)


class CountsElsewhere(nn.Module):
    """Scales the output by the number of calls, counted in an object outside of its modules."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.calls = count(1)

    def forward(self, items: Tensor) -> Tensor:
        return self.linear(items).tanh() / next(self.calls)


class Conditioned(nn.Module):
    """Takes items and a shared tensor, each of which may require a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, items: Tensor, *, context: dict[str, Tensor]) -> dict[str, Any]:
        hidden = self.linear(items) * context["scale"]
        return {"levels": [hidden.tanh(), hidden.sin()], "argmax": hidden.argmax(dim=1), "n": 2}


def vectors(num_items: int = NUM_ITEMS, channels: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num_items, channels, dtype=torch.float64, generator=generator)


def wrap(encoder: nn.Module, **options: Any) -> SequentialGradientSampler:
    return SequentialGradientSampler(encoder.double(), micro_batch_size=SIZE, **options)


def layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 4)).double()


def batch_norm() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))


def rows(report: EquivalenceReport) -> dict[str, ReportRow]:
    return {row.name: row for row in report.rows}


def report_on(name: str) -> EquivalenceReport:
    seed()
    return equivalence_report(wrap(KINDS[name].make()), **KINDS[name].items(NUM_ITEMS))


@pytest.mark.parametrize("name", [name for name in ANSWERED if name not in BY_PLACE])
def test_report_calls_every_exact_kind_exact(name: str) -> None:
    report = report_on(name)
    assert report.is_exact, report
    assert max(row.relative_error for row in report.rows) < EXACT
    is_stochastic = KINDS[name].is_stochastic
    assert report.reference == ("the same micro-batches" if is_stochastic else "one call")


@pytest.mark.parametrize("name", ["bert", "vit", "wav2vec2", "segformer", "swin"])
def test_families_in_evaluation_mode_are_exact_against_one_call(name: str) -> None:
    encoder = FAMILIES[name].make().eval()
    report = equivalence_report(wrap(encoder), **FAMILIES[name].items(NUM_ITEMS))
    assert report.is_exact, report
    assert report.reference == "one call"


def test_every_feature_parameter_and_argument_has_a_row() -> None:
    items, scale = vectors().requires_grad_(), torch.ones(4).double().requires_grad_()
    report = equivalence_report(wrap(Conditioned()), items, context=Shared({"scale": scale}))
    assert [(row.kind, row.name) for row in report.rows] == [
        ("feature", "features['levels'][0]"),
        ("feature", "features['levels'][1]"),
        ("feature", "features['argmax']"),
        ("feature", "features['n']"),
        ("parameter", "linear.weight"),
        ("parameter", "linear.bias"),
        ("argument", "args[0]"),
        ("argument", "kwargs['context']['scale']"),
    ]
    assert report.is_exact, report
    assert items.grad is None
    assert scale.grad is None


def test_tied_parameters_are_named_once_and_frozen_ones_not_at_all() -> None:
    encoder = TiedWeights()
    encoder.first.bias.requires_grad_(False)
    report = equivalence_report(wrap(encoder), vectors())
    assert [r.name for r in report.rows] == ["features", "first.weight", "second.bias"]


def test_parameters_without_a_gradient_on_both_sides_agree() -> None:
    report = equivalence_report(wrap(UnusedSubmodule()), vectors())
    statuses = {name: row.status for name, row in rows(report).items()}
    assert report.is_exact
    assert statuses["unused.weight"] == statuses["unused.bias"] == "none"
    assert statuses["used.weight"] == "exact"


def test_without_anything_to_train_the_features_are_compared() -> None:
    report = equivalence_report(wrap(layers().requires_grad_(False)), vectors())
    assert report.is_exact
    assert [row.kind for row in report.rows] == ["feature"]


def test_items_of_several_videos_are_one_call() -> None:
    items = torch.randn(2, 5, 3, 2, generator=torch.Generator().manual_seed(0)).double()
    encoder = nn.Sequential(nn.Flatten(), layers())
    report = equivalence_report(wrap(encoder, item_dim=1), items.requires_grad_())
    assert report.is_exact, report
    assert report.reference == "one call"


def test_leaves_of_named_tuples_are_named() -> None:
    found = rows(report_on("named_tuple_output"))
    assert {"features.low", "features.high"} <= found.keys()


def test_features_in_the_memory_of_a_buffer_are_those_of_the_call() -> None:
    class ReturnsCounter(nn.Linear):
        def __init__(self) -> None:
            super().__init__(6, 4)
            self.register_buffer("num_calls", torch.zeros(()))

        def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
            self.num_calls += 1
            return super().forward(items), self.num_calls.expand(len(items))

    assert equivalence_report(wrap(ReturnsCounter()), vectors()).is_exact


def test_first_pass_of_a_frozen_encoder_has_its_own_size() -> None:
    sizes: list[int] = []
    encoder = layers().requires_grad_(False)
    encoder.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    equivalence_report(wrap(encoder, forward_micro_batch_size=5), vectors())
    assert sizes == [4, 2, 6]


def test_buffers_that_count_calls_count_one_in_every_micro_batch() -> None:
    encoder = nn.Sequential(KINDS["spectral_norm"].make(), nn.Dropout(0.4))
    report = equivalence_report(wrap(nn.Sequential(encoder, nn.Linear(4, 3))), vectors())
    assert report.reference == "the same micro-batches"
    assert report.is_exact, report


def test_reference_of_a_random_encoder_has_the_samplers_micro_batches() -> None:
    # Of five items by four, the last two are one micro-batch.
    sampler = wrap(nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.4)))
    assert equivalence_report(sampler, vectors()[:5]).is_exact


def test_ratio_of_the_sampler_does_not_matter_and_is_kept() -> None:
    sampler = wrap(layers(), ratio=0.2, weights="none")
    assert equivalence_report(sampler, vectors()).is_exact
    assert (sampler.ratio, sampler.last_index) == (0.2, None)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_report_is_the_same_where_gradients_are_off(context: Callable[[], Any]) -> None:
    sampler, items = wrap(layers()), vectors()
    with context():
        report = equivalence_report(sampler, items)
    assert report == equivalence_report(sampler, items)


def test_report_does_not_depend_on_the_random_state() -> None:
    torch.manual_seed(0)
    sampler = wrap(TimeFirst())
    first = equivalence_report(sampler, vectors(channels=4))
    torch.manual_seed(1)
    assert equivalence_report(sampler, vectors(channels=4)) == first


def test_evaluation_mode_is_kept_and_used() -> None:
    encoder = KINDS["dropout"].make().eval()
    assert equivalence_report(wrap(encoder), vectors()).reference == "one call"
    assert not any(module.training for module in encoder.modules())


def test_items_read_as_time_are_detected() -> None:
    torch.manual_seed(0)
    report = equivalence_report(wrap(TimeFirst()), vectors(channels=4))
    assert not report.is_exact
    assert all(row.relative_error > 0.01 for row in report.rows)


def test_items_coupled_by_batch_norm_are_detected() -> None:
    report = equivalence_report(wrap(batch_norm(), allow_batch_norm=True), vectors())
    assert not report.is_exact
    assert rows(report)["features"].relative_error > 0.01
    assert rows(report)["0.weight"].relative_error > 0.1


def test_noise_by_place_in_the_micro_batch_is_detected() -> None:
    assert rows(report_on("seeded_noise"))["features"].relative_error > 0.1


def test_encoder_that_asks_for_gradients_is_detected_without_its_check() -> None:
    report = equivalence_report(wrap(AsksForGradients(), check_replay=False), vectors())
    assert rows(report)["features"].relative_error == pytest.approx(0.1, rel=1e-6)


def test_hidden_counter_is_detected_without_its_check() -> None:
    report = equivalence_report(wrap(CountsElsewhere(), check_replay=False), vectors())
    assert not report.is_exact
    assert rows(report)["linear.weight"].relative_error > 0.1


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_the_answer(name: str) -> None:
    with pytest.raises(RuntimeError, match=REFUSED[name]):
        report_on(name)


def test_size_of_a_wrong_gradient_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: an engine that gives a tenth of a percent too much."""

    def scaled(outputs: Any, gradients: Any, *rest: Any) -> None:
        back_propagate_rows(outputs, [None if g is None else 1.001 * g for g in gradients], *rest)

    monkeypatch.setattr(sgs.engine, "back_propagate_rows", scaled)
    report = equivalence_report(wrap(layers()), vectors().requires_grad_())
    errors = {name: row.relative_error for name, row in rows(report).items()}
    assert errors.pop("features") < EXACT
    assert list(errors.values()) == pytest.approx([0.001] * 5, rel=1e-6)


def test_a_forgotten_micro_batch_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(outputs: Any, gradients: Any, index: Tensor, weight: Any) -> None:
        if index[0] == 0:
            back_propagate_rows(outputs, gradients, index, weight)

    monkeypatch.setattr(sgs.engine, "back_propagate_rows", forgetful)
    for name in ("linear", "dropout"):
        report = report_on(name)
        wrong = [row.kind for row in report.rows if row.status == "different"]
        assert wrong == ["parameter"] * (len(report.rows) - 1)


def test_a_zero_in_place_of_no_gradient_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if several processes trained: the engine then fills in zeros.
    monkeypatch.setattr("sgs.gradients.parameters.is_distributed", lambda: True)
    report = equivalence_report(wrap(UnusedSubmodule()), vectors())
    assert rows(report)["unused.weight"].status == "unexpected"
    assert not report.is_exact


def test_an_encoder_that_averages_its_items_is_detected() -> None:
    class Mean(nn.Linear):
        def forward(self, items: Tensor) -> Tensor:
            return super().forward(items).mean(dim=0, keepdim=True)

    sampler = SequentialGradientSampler(Mean(6, 4).double(), micro_batch_size=1)
    found = rows(equivalence_report(sampler, vectors()))
    assert found["features"] == ReportRow("features", "feature", torch.inf, "different")
    assert found["weight"].status == "unexpected"


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-10), (torch.float32, 1e-3), (torch.bfloat16, 0.1), (torch.float16, 0.1)],
)
def test_tolerance_follows_the_precision(dtype: torch.dtype, tolerance: float) -> None:
    sampler = SequentialGradientSampler(layers().to(dtype), micro_batch_size=SIZE)
    report = equivalence_report(sampler, vectors().to(dtype))
    assert report.tolerance == tolerance
    assert report.is_exact, report


def test_both_sides_run_under_the_callers_autocast() -> None:
    torch.manual_seed(0)
    seen: list[torch.dtype] = []
    encoder = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, 4))
    encoder[0].register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    sampler = SequentialGradientSampler(encoder, micro_batch_size=SIZE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        report = equivalence_report(sampler, vectors().float())
    assert report.tolerance == 0.1
    assert report.is_exact, report
    # Two micro-batches in each of two passes, and one call.
    assert seen == [torch.bfloat16] * 5


def test_table_says_what_a_stochastic_encoder_hides() -> None:
    assert "cannot show whether items interact" in str(report_on("dropout"))
    assert "cannot show whether items interact" not in str(report_on("linear"))


def test_bare_encoder_is_refused() -> None:
    with pytest.raises(TypeError, match=r"encoder=Linear\): .* Wrap the encoder first"):
        equivalence_report(nn.Linear(6, 4), vectors())


@pytest.mark.parametrize("num_items", [0, 1, SIZE])
def test_a_single_micro_batch_is_refused(num_items: int) -> None:
    with pytest.raises(ValueError, match=rf"got {num_items} item\(s\) and micro_batch_size=4"):
        equivalence_report(wrap(layers()), vectors(num_items))


def test_errors_of_the_call_are_passed_on() -> None:
    with pytest.raises(ValueError, match="normalise"):
        equivalence_report(wrap(batch_norm()), vectors())
    with pytest.raises(ValueError, match="have no values yet"):
        equivalence_report(wrap(nn.LazyLinear(4)), vectors())
    with pytest.raises(ValueError, match="no tensor of items"):
        equivalence_report(wrap(layers()))


@pytest.mark.usefixtures("process_group")
def test_zeros_that_the_reduction_needs_are_no_difference() -> None:
    report = equivalence_report(wrap(UnusedSubmodule()), vectors())
    assert report.is_exact, report
    assert rows(report)["unused.weight"].status == "none"


@pytest.mark.usefixtures("process_group")
def test_encoder_in_data_parallel_is_reported_on_without_it() -> None:
    reduced: list[Any] = []
    encoder = DistributedDataParallel(layers())
    encoder.register_comm_hook(None, lambda state, bucket: reduced.append(bucket))
    report = equivalence_report(wrap(encoder), vectors())
    assert report.is_exact, report
    assert [row.name for row in report.rows][1] == "0.weight"
    assert not reduced


@pytest.mark.usefixtures("process_group")
def test_sharded_parameters_are_refused() -> None:
    encoder = nn.Linear(6, 4)
    mesh = DeviceMesh("cpu", [0])
    encoder.weight = nn.Parameter(distribute_tensor(encoder.weight.detach(), mesh))
    with pytest.raises(ValueError, match=r"parameters \['weight'\] are sharded"):
        equivalence_report(SequentialGradientSampler(encoder, micro_batch_size=4), vectors())
