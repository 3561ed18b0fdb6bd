import io
import runpy
import sys
from argparse import ArgumentTypeError
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest
import torch
from matplotlib import rc_context
from torch import nn

from sgs import SequentialGradientSampler, estimate
from sgs.planning.byte_size import readable_bytes
from sgs.planning.command_line import picture
from sgs.planning.command_line.command import main
from sgs.planning.command_line.named_module import named_module
from sgs.planning.command_line.report import Report
from sgs.planning.command_line.training_step import SMALLEST, TrainingStep
from sgs.planning.settings.result import Plan

ENCODERS = '''
import torch
from torch import nn

def whole():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 500), nn.ReLU(), nn.Linear(500, 500))

def stem():
    return Scaled(nn.Flatten(), nn.Linear(192, 500)).requires_grad_(False)

def trunk():
    return nn.Sequential(nn.ReLU(), nn.Linear(500, 500))

class Scaled(nn.Sequential):
    def forward(self, x):
        return super().forward(x / 255)

class Wide(nn.Module):
    """Returns and keeps much per item."""
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
    def forward(self, x):
        return (self.weight * x).tanh().repeat(1, 3, 100, 100)

class Mean(Wide):
    def forward(self, x):
        return (self.weight * x).mean((2, 3))

class Deep(Wide):
    def forward(self, x):
        return (self.weight * x).repeat(1, 3, 100, 100).tanh().mean((2, 3))

class Particular(Deep):
    """Takes one item or many."""
    def forward(self, x):
        if len(x) == 4:
            raise ValueError("no 4 items, please")
        return super().forward(x)

def normalised():
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192))

def built_from_a_value():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, int(torch.tensor(3.0).item())))

def with_arguments(width, *, depth=3):
    return nn.Linear(192, width)

def broken():
    raise ValueError("this is the caller's own error")

def no_module():
    return 3

class Nested:
    build = staticmethod(whole)

ready = whole()
number = 3
'''
LAYERS = [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
STEP = ("--item", "3x8x8", "--num-items", "12")
SHORT = ("--item", "3x8x8", "--num-items", "3", "--budget", "1GiB")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoders") / "encoders_of_the_test.py"
    path.write_text(ENCODERS)
    return path


def step_of(file: Path) -> TrainingStep:
    """Return the step of a command line."""
    return TrainingStep(
        encoder=named_module(f"{file}:Deep"),
        frozen_stem=None,
        item_shape=(3, 8, 8),
        dtype=torch.float32,
        num_items=100,
        videos=None,
        budget=200 * 2**20,
        ratio=1.0,
        optimizer="none",
        autocast=None,
        items_on_device=False,
        stem_cache_on_host=False,
    )


@cache
def run(*arguments: str) -> tuple[int, str]:
    """Return the exit status and the output of a command, which runs once."""
    with redirect_stdout(io.StringIO()) as output:
        status = main(arguments)
    return status, output.getvalue()


def printed(*arguments: str) -> str:
    return run(*arguments)[1]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit, match="2"):
        main([*arguments])
    return capsys.readouterr().err


def cells(output: str, row: str) -> list[str]:
    """Return the entries of a row of the table: naive, checkpointed, SGS."""
    (line,) = [line for line in output.splitlines() if line.startswith(f"{row}  ")]
    return [cell.strip() for cell in line.removeprefix(row).split("  ") if cell.strip()]


def written_line(output: str) -> str:
    """Return the call that the output shows."""
    start = output.index("SequentialGradientSampler(")
    return output[start : output.index("\n\n", start)]


@pytest.fixture(scope="module")
def picture_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("picture") / "memory.svg"


@pytest.fixture
def deep_report(file: Path, picture_file: Path) -> str:
    """The output of a command that plans, draws and tells seconds."""
    drawing = ("--picture", str(picture_file), "--tflops", "0.5")
    with rc_context({"svg.fonttype": "none"}):
        status, output = run(f"{file}:Deep", *STEP, "--budget", "200MiB", *drawing)
    assert status == 0
    return output


def test_line_to_write_makes_the_sampler_of_the_table(file: Path, deep_report: str) -> None:
    assert deep_report.startswith("Yes: a training step on 12 items of 3x8x8 float32 takes ")
    assert cells(deep_report, "fits 200 MiB")[::2] == ["no", "yes"]
    encoder = named_module(f"{file}:Deep")
    names = {"encoder": encoder, "SequentialGradientSampler": SequentialGradientSampler}
    sampler = eval(written_line(deep_report), names)
    assert sampler.kept_graphs > 0
    items, adamw = torch.empty(12, 3, 8, 8, device="meta"), torch.optim.AdamW
    for column, method in enumerate(("naive", "checkpointed", "sgs")):
        needed = estimate(sampler, items, method=method, optimizer=adamw, items_on_device=False)
        assert cells(deep_report, "peak memory")[column] == readable_bytes(needed.peak_bytes)
        assert cells(deep_report, "TFLOP")[column] == f"{needed.total_flops / 1e12:.4g}"


def test_seconds_are_operations_by_speed(file: Path, deep_report: str) -> None:
    seconds, flops = (cells(deep_report, row) for row in ("seconds at 0.5 TFLOP/s", "TFLOP"))
    assert [float(x) for x in seconds] == pytest.approx([2 * float(x) for x in flops], rel=1e-3)
    assert "seconds" not in printed(f"{file}:whole", *SHORT)


def test_picture_shows_each_method_the_budget_and_the_plan(
    deep_report: str, picture_file: Path
) -> None:
    drawn = picture_file.read_text()
    for text in ("naive: ", "checkpointed: ", "SGS: ", "★ SGS, kept_graphs=", "budget: 200 MiB"):
        assert text in drawn
    naive, _, sgs = cells(deep_report, "peak memory")
    assert f"naive: {naive}" in drawn
    assert f": {sgs}" in drawn


def test_step_that_fits_anyway_needs_no_sgs(file: Path) -> None:
    output = printed(f"{file}:whole", *SHORT)
    assert output.startswith("Yes, and it needs no SGS")
    assert cells(output, "fits 1 GiB") == ["yes"] * 3


@pytest.mark.parametrize(
    ("encoder", "advice"),
    [
        ("whole", "Parameters, gradients and the optimizer's state take"),
        ("Deep", "are activations: lower the resolution"),
        ("Wide", "are head: let the encoder return less per item"),
    ],
)
def test_step_that_does_not_fit_is_a_failure_with_advice(
    encoder: str, advice: str, file: Path
) -> None:
    status, output = run(f"{file}:{encoder}", *SHORT[:4], "--budget", "1MiB")
    output = " ".join(output.split())
    assert status == 1
    assert output.startswith("No: a training step on 3 items of 3x8x8 float32 takes ")
    assert advice in output
    assert "SequentialGradientSampler(" not in output


def test_items_that_fill_the_device_are_named(file: Path) -> None:
    step = ("--item", "3x112x112", "--num-items", "6", "--budget", "1MiB")
    assert "--items-on-device" not in printed(f"{file}:Mean", *step)
    output = printed(f"{file}:Mean", *step, "--items-on-device")
    assert "are items: omit --items-on-device" in " ".join(output.split())


def test_videos_ratio_and_stem_reach_the_sampler(file: Path) -> None:
    stem = ("--frozen-stem", f"{file}:stem", "--stem-cache-on-host")
    options = ("--videos", "3", "--ratio", "0.3", "--dtype", "uint8")
    output = printed(f"{file}:trunk", *SHORT, *stem, *options)
    assert "on 3 videos of 3 items of 3x8x8 uint8 takes" in " ".join(output.split())
    line = " ".join(written_line(output).split())
    given = 'ratio=0.3, item_dim=1, frozen_stem=FrozenStem(frozen_stem, cache_device="cpu") )'
    assert given in line


def test_optimizer_and_autocast_reach_the_estimate(file: Path) -> None:
    step = (f"{file}:whole", *SHORT)
    outputs = [printed(*step)] + [printed(*step, "--optimizer", name) for name in ("SGD", "none")]
    adamw, sgd, none = (cells(output, "optimizer state")[0] for output in outputs)
    assert float(adamw.removesuffix(" MiB")) > 1.5 * float(sgd.removesuffix(" MiB"))
    assert none == "-"
    half = printed(*step, "--optimizer", "none", "--autocast", "bfloat16")
    assert cells(half, "peak memory") != cells(outputs[2], "peak memory")


@pytest.mark.parametrize("name", ["whole", "ready", "Nested.build"])
def test_encoder_may_be_named_by_its_module_or_its_file(
    name: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(file.parent)
    for place in (file.stem, file):
        assert [type(x) for x in named_module(f"{place}:{name}")] == LAYERS


def test_encoder_takes_no_memory(file: Path) -> None:
    assert {x.device.type for x in named_module(f"{file}:whole").parameters()} == {"meta"}


def test_encoder_that_the_meta_device_refuses_is_built_in_memory(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = named_module(f"{file}:built_from_a_value")
    assert {x.device.type for x in found.parameters()} == {"cpu"}
    assert "is built in memory, since the meta device refuses: RuntimeError" in (
        capsys.readouterr().err
    )


def test_errors_of_the_caller_are_not_disguised(file: Path) -> None:
    with pytest.raises(ValueError, match="the caller's own error"):
        named_module(f"{file}:broken")


def test_modules_missing_inside_of_the_named_one_are_the_callers_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imports_what_is_missing.py").write_text("import there_is_no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_module"):
        named_module("imports_what_is_missing:encoder")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("whole", "'whole': expected `module:callable` or `path/to/file.py:callable`"),
        (":whole", "':whole': expected `module:callable`"),
        ("there_is_no_such_module:whole", "there is no module 'there_is_no_such_module'"),
        ("torch.there_is_no_such:whole", "there is no module 'torch.there_is_no_such'"),
        ("no_file.py:whole", "there is no file 'no_file.py'"),
        ("{file}:hole", "has no 'hole'; it has whole, stem, trunk"),
        ("{file}:number", r"builds one \(3 is not a callable"),
        ("{file}:with_arguments", r"builds one \(missing a required argument: 'width'\)"),
        ("{file}:no_module", "builds a int: expected an nn.Module"),
    ],
)
def test_what_names_no_encoder_is_refused(spec: str, message: str, file: Path) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        named_module(spec.format(file=file))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--item", "3,8,8"), "'3,8,8': expected the shape of one item, as in 3x16x224x224"),
        (("--item", "3x0"), "'3x0': expected the shape of one item"),
        (("--num-items", "0"), "'0': expected an integer of at least 1"),
        (("--videos", "1.5"), "'1.5': expected an integer of at least 1"),
        (("--budget", "8 apples"), "'8 apples' is no amount of memory"),
        (("--ratio", "0"), "'0': expected a value in (0, 1]"),
        (("--ratio", "all"), "'all': expected a value in (0, 1]"),
        (("--tflops", "-1"), "'-1': expected a positive number"),
        (("--tflops", "inf"), "'inf': expected a positive number"),
        (("--picture", "memory.docx"), "whose name ends in one of"),
        (("--picture", "no/such/folder/memory.png"), "expected a file in an existing folder"),
        (("--item", "9"), "a training step on 12 items of 9 float32 is refused. RuntimeError"),
        (("--frozen-stem", "number"), "'number': expected `module:callable`"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: tuple[str, ...], message: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = (f"{file}:whole", *STEP, "--budget", "1GiB")
    assert message in refused(capsys, *step, f"{arguments[0]}={arguments[1]}")


def test_refusals_of_the_sampler_are_passed_on(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, f"{file}:normalised", *STEP, "--budget", "1GiB")
    assert "is refused. ValueError: SequentialGradientSampler: 'encoder.1' (BatchNorm1d)" in error


def test_refusal_of_some_sizes_alone_is_no_lack_of_memory(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, f"{file}:Particular", *STEP, "--budget", "200MiB")
    assert "is refused. ValueError: no 4 items, please" in error


def test_picture_without_matplotlib_is_refused(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "find_spec", lambda name: None)
    step = (f"{file}:whole", *STEP, "--budget", "1GiB", "--picture", "memory.png")
    assert "pip install matplotlib" in refused(capsys, *step)


def test_lines_of_the_picture_are_estimates_without_kept_graphs(file: Path) -> None:
    step = step_of(file)
    plan = Plan(16, 16, 2, step.estimate("naive", SMALLEST))
    report = Report(step, plan, {}, None)
    naive, sgs = (dict(picture.points(report, method)) for method in ("naive", "sgs"))
    assert list(naive) == list(sgs) == [1, 4, 16, 64, 100]
    assert naive[100] == plan.estimate.peak_bytes
    assert naive[100] > 50 * naive[1]
    assert sgs[100] == pytest.approx(sgs[16], rel=0.01)


def test_package_is_the_command(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["sgs", f"{file}:whole", *SHORT[:4], "--budget", "1MiB"]
    monkeypatch.setattr(sys, "argv", command)
    with redirect_stdout(io.StringIO()) as output, pytest.raises(SystemExit, match="1"):
        runpy.run_module("sgs", run_name="__main__")
    assert output.getvalue() == printed(*command[1:])
