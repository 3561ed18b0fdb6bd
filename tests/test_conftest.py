"""The switch for what must be present, and ids that every worker agrees on."""

from types import SimpleNamespace

import pytest
import torch

from tests import conftest
from tests.conftest import pytest_collection_modifyitems, pytest_configure


def require(*names: str) -> None:
    pytest_configure(SimpleNamespace(getoption={"--require": names}.get))


@pytest.mark.parametrize("missing", ["gpu", "no_such_module"])
def test_what_is_required_and_missing_ends_the_run(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(pytest.UsageError, match=f"--require {missing}"):
        require("torch", missing)


def test_what_is_required_and_present_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    require("torch", "gpu")


def test_a_missing_package_of_the_zoo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "ZOO_PACKAGES", ("torch", "no_such_module"))
    with pytest.raises(pytest.UsageError, match="--require zoo: there is no no_such_module"):
        require("zoo")


def test_ids_with_an_address_are_refused() -> None:
    item = SimpleNamespace(nodeid=f"test_it[{object()}]", get_closest_marker=lambda name: None)
    with pytest.raises(pytest.UsageError, match="its id holds an address; name it by `ids`"):
        pytest_collection_modifyitems([item])
