"""Facts that stand in more than one file."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def commands(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("pip install -c")]


def test_continuous_integration_ends_with_both_tiers() -> None:
    (test_command,) = [c for c in commands((ROOT / "README.md").read_text()) if "pytest" in c]
    *_, quick, exhaustive = (ROOT / ".ci/run").read_text().splitlines()
    assert quick == f"{test_command} || exit 1"
    assert f"\n{exhaustive}\n" in (ROOT / "CONTRIBUTING.md").read_text()
    assert "-m exhaustive" in exhaustive


def test_constraints_are_what_the_tests_run_with() -> None:
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    assert version("torch").split("+")[0] == pins["torch"]
    assert version("jaxtyping") == pins["jaxtyping"]


@pytest.mark.parametrize("extra", ["etad", "benchmarks", "test", "zoo"])
def test_every_direct_dependency_is_pinned(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"][extra]]
    names = {re.split(r"[\[><=]", requirement)[0] for requirement in wanted} - {"etad"}
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), re.M))
    assert names <= pinned


def test_library_does_not_import_the_examples() -> None:
    for package in ("sgs", "samplers", "aps"):
        for file in (ROOT / package).glob("*.py"):
            assert not re.search(
                r"^\s*(from|import) (examples|tests|benchmarks)", file.read_text(), re.M
            )
