"""An opened run is the one that was written, and its videos are encoded as in training."""

from pathlib import Path

import pytest
import torch

from benchmarks.trained_model.encoded_videos import encode_videos
from benchmarks.trained_model.picked_proposals import Proposals
from benchmarks.trained_model.picked_snippets import Snippets
from benchmarks.trained_model.trained_run import TrainedRun
from examples.etad.training.checkpoint import load_checkpoint
from tests.benchmarks.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("run"))


def test_trained_model_has_the_weights_of_the_checkpoint(checkpoint: Path) -> None:
    run = TrainedRun.open(checkpoint)
    written = load_checkpoint(checkpoint)["model"]
    trained, untrained = run.trained_model().state_dict(), run.untrained_model().state_dict()
    assert all(torch.equal(trained[name], weight) for name, weight in written.items())
    name = "encode.encoder.project.weight"
    assert not torch.equal(untrained[name], written[name])
    assert torch.equal(untrained[name], run.untrained_model().state_dict()[name])


def test_videos_are_encoded_with_the_gradient_of_the_loss(checkpoint: Path) -> None:
    run = TrainedRun.open(checkpoint)
    model = run.trained_model()
    first, second = encode_videos(model, run.training, run.config.detector, num_videos=2)
    assert model.training
    assert [v.batch["video_id"] for v in (first, second)] == [
        [annotation.video_id] for annotation in run.training.annotations[:2]
    ]
    features, gradient = first.encoded.features, first.encoded.features.grad
    snippets = Snippets.of(first)
    torch.testing.assert_close(snippets.features, features[0].detach())
    norms = gradient[0].square().sum(dim=1).sqrt().double()
    torch.testing.assert_close(snippets.gradient_norm, norms)
    assert norms.min() > 0
    proposals = Proposals.of(first, max_duration=5)
    assert proposals.num_items == 5 * 16 - 10
    assert torch.equal(proposals.gt_segments, first.batch["gt_segments"][0])
