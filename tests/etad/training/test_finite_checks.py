"""NaN and infinity reach neither the weights nor the checkpoint."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from examples.etad.data.from_settings import find_videos
from examples.etad.settings.loading import load_config, override
from examples.etad.train import DEFAULT_CONFIG
from examples.etad.training.finite_checks import check_gradients, check_loss
from examples.etad.training.loop import Run
from tests.etad.tiny_run import SETTINGS

# bfloat16 leaves the encoder alone: its 3-D convolutions have NaN gradients now and then, by
# themselves, where PyTorch runs them on a CPU.
FLOAT32 = ("train.precision=float32", "train.clip_norm=0.0")
CLIPPED = ("train.precision=float32", "train.clip_norm=5.0")
BFLOAT16 = ("train.precision=bfloat16", "train.clip_norm=0.0", "encoder.frozen=true")
CLIPPED_BFLOAT16 = ("train.precision=bfloat16", "train.clip_norm=5.0", "encoder.frozen=true")


def new_run(videos: Path, folder: Path, *extra: str) -> Run:
    settings = [f"data.render_folder={videos}", *SETTINGS, *extra]
    config = override(load_config(DEFAULT_CONFIG), settings)
    return Run(config, find_videos(config.data), folder)


def state_of(run: Run) -> list[object]:
    parts = (run.model, run.optimizer, run.scheduler)
    return [copy.deepcopy(part.state_dict()) for part in parts]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (FLOAT32, "encode.encoder.project.weight"),
        (CLIPPED, "encode.encoder.project.weight"),
        (BFLOAT16, "detector.boundary.layers.2.bias"),
        (CLIPPED_BFLOAT16, "detector.boundary.layers.2.bias"),
    ],
)
def test_broken_gradient_is_named_and_changes_nothing(
    settings: tuple[str, ...], name: str, value: float, videos: Path, tmp_path: Path
) -> None:
    run = new_run(videos, tmp_path, *settings)
    before = state_of(run)
    batch = next(iter(run.loader))
    run.model.get_parameter(name).register_hook(lambda gradient: gradient + value)
    message = rf"gradients of {name} are not finite \(1 of \d+ parameters\), for the videos \['trai"
    with pytest.raises(FloatingPointError, match=message):
        run.train_step(batch)
    torch.testing.assert_close(state_of(run), before, rtol=0, atol=0)


@pytest.mark.parametrize("settings", [CLIPPED, CLIPPED_BFLOAT16])
def test_large_finite_gradient_is_clipped_and_trains(
    settings: tuple[str, ...], videos: Path, tmp_path: Path
) -> None:
    run = new_run(videos, tmp_path, *settings)
    bias = run.model.get_parameter("detector.boundary.layers.2.bias")
    before = bias.detach().clone()
    bias.register_hook(lambda gradient: gradient + 1e6)
    run.train_step(next(iter(run.loader)))
    assert not bias.equal(before)
    gradients = [p.grad for p in run.model.parameters() if p.grad is not None]
    assert float(nn.utils.get_total_norm(gradients)) == pytest.approx(5, rel=1e-4)


def test_broken_weights_do_not_replace_the_checkpoint(videos: Path, tmp_path: Path) -> None:
    run = new_run(videos, tmp_path)
    run.save()
    good = run.checkpoint_path.read_bytes()
    with torch.no_grad():
        run.model.get_parameter("detector.boundary.layers.2.bias")[0] = torch.inf
    message = r"the weights detector.boundary.layers.2.bias are not finite. No checkpoint is writ"
    with pytest.raises(FloatingPointError, match=message):
        run.save()
    assert run.checkpoint_path.read_bytes() == good


def test_norm_that_overflows_is_told_apart_from_broken_gradients() -> None:
    model = nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.full((1, 2), 1e30)
    norm = nn.utils.get_total_norm([model.weight.grad])
    with pytest.raises(FloatingPointError, match=r"are too large: their norm overflows, for the v"):
        check_gradients(model, norm, video_ids=["a"])


def test_many_broken_gradients_are_counted() -> None:
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(3)))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    message = r"of 0.weight, 0.bias, 1.weight and 3 more are not finite \(6 of 6 parameters\)"
    with pytest.raises(FloatingPointError, match=message):
        check_gradients(model, torch.tensor(torch.nan), video_ids=["a"])


def test_non_finite_loss_names_the_videos() -> None:
    with pytest.raises(FloatingPointError, match=r"the loss is nan for the videos \['a', 'b'\]"):
        check_loss(torch.tensor(torch.nan), ["a", "b"])
