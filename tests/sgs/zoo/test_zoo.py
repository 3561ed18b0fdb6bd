"""The tables of encoders of other packages, and how these packages are imported."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from tests.conftest import ZOO_PACKAGES
from tests.sgs.exactness.outcomes import ALL_KINDS
from tests.sgs.exactness.settings import seed, tensors
from tests.sgs.zoo import ZOO
from tests.sgs.zoo.package import has_torchvision, stand_in

ROOT = Path(__file__).parents[3]


def extra_of_the_zoo() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["optional-dependencies"]["zoo"]


def test_tables_are_consistent() -> None:
    assert tuple(name.replace("-", "_") for name in extra_of_the_zoo()) == ZOO_PACKAGES
    assert {kind.package for kind in ZOO.values()} == {*ZOO_PACKAGES}
    assert all(name.startswith(f"{kind.package}_") for name, kind in ZOO.items())
    assert not ZOO.keys() & ALL_KINDS.keys()


def test_guide_installs_the_extra() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    apart, others = re.search(
        r"pip install -c constraints.txt --no-deps (.*)\npip install -c constraints.txt (.*)", guide
    ).groups()
    assert f"{apart} {others}".split() == extra_of_the_zoo()
    assert f"trains {len(ZOO)} encoders of timm" in guide


@pytest.mark.skipif(has_torchvision(), reason="torchvision is installed, and nothing stands for it")
def test_stand_in_for_torchvision_leaves_no_trace() -> None:
    finders = list(sys.meta_path)
    with stand_in():
        misc = importlib.import_module("torchvision.ops.misc")
        assert not isinstance(torch.nn.Linear(1, 1), misc.FrozenBatchNorm2d)
        assert isinstance(misc.Interpolation.NEAREST, type)
        with pytest.raises(ImportError):
            importlib.import_module("no_such_module")
    assert sys.meta_path == finders
    assert not [name for name in sys.modules if name.startswith("torchvision")]


@pytest.mark.exhaustive
@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize("name", ZOO)
def test_random_numbers_reach_the_features(name: str) -> None:
    kind = ZOO[name]
    kind.skip_where_missing()
    encoder, items = kind.make(), kind.items(4)
    outputs = []
    for number in range(4):
        seed(number)
        outputs.append(torch.cat([x.detach().flatten() for x in tensors(encoder(**items))]))
    is_same = all(torch.equal(x, outputs[0]) for x in outputs)
    assert is_same != kind.is_stochastic
