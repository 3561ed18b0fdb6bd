"""Fixtures and settings shared by all tests."""

import os
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from typing import Any

import jaxtyping
import pytest
import torch
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.sgs.distributed.processes import Processes

settings.register_profile(
    "ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("ci")

# Tests run side by side, and all numbers should come from the same order of summation.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
MOST_WORKERS = 4  # each takes about 1.5 GB
# What the extra `zoo` installs, by the names to import.
ZOO_PACKAGES = ("timm", "vit_pytorch", "x_transformers", "monai", "peft", "diffusers")


@pytest.fixture
def raw_errors() -> Iterator[None]:
    """Switch the shape checker off, so that the library's own messages can be tested."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of randomness."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def process_group() -> Iterator[None]:
    """Make a group of this process alone."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Two processes of one group, for all tests that need them."""
    with closing(Processes(tmp_path_factory.mktemp("processes"))) as processes:
        yield processes


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="append",
        default=[],
        metavar="NAME",
        help="fail at once, instead of skipping tests, where this is missing: gpu, a module, or "
        "zoo for all packages of that extra",
    )


def pytest_configure(config: pytest.Config) -> None:
    for name in config.getoption("--require"):
        missing = [x for x in (ZOO_PACKAGES if name == "zoo" else [name]) if not is_present(x)]
        if missing:
            raise pytest.UsageError(f"--require {name}: there is no {', '.join(missing)}")


def is_present(name: str) -> bool:
    return torch.cuda.is_available() if name == "gpu" else find_spec(name) is not None


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run the whole suite side by side, and named files in this process."""
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MOST_WORKERS, cores or 1)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    return FileByFile(config, log) if config.getvalue("dist") == "loadfile" else None


class FileByFile(LoadScopeScheduling):
    """The tests of a file share what it makes once, so one worker runs them all.

    All tests with two processes share these. The cells of the table of exactness share nothing, and
    take most of the time of the exhaustive tier.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        if file == "tests/sgs/exactness/test_kinds.py":
            return nodeid
        return "processes" if file.startswith("tests/sgs/distributed/") else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what needs an accelerator that is not there."""
    for item in items:
        if " at 0x" in item.nodeid:
            # Workers could not agree on it.
            raise pytest.UsageError(f"{item.nodeid}: its id holds an address; name it by `ids`")
        if item.get_closest_marker("gpu") and not is_present("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
