"""What makes the benchmarks cheap enough to be tested."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def frozen_objects() -> Iterator[None]:
    """Spare the collector what is loaded already: `measure` collects before every case."""
    gc.freeze()
    yield
    gc.unfreeze()
