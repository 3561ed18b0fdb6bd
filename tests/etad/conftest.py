"""Videos that all runs of the example share."""

from pathlib import Path

import pytest

from examples.etad.data.rendered.render import render_dataset


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny rendered set, as `SETTINGS` of `tiny_run.py` ask for it."""
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    render_dataset(folder, seed=0, num_training=5, num_validation=2, num_frames=64, progress=False)
    return folder
