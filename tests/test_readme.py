"""What the README shows runs, and what it says is so."""

import re
from pathlib import Path

import samplers

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_python_blocks_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_example_changes_one_line() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 12
    assert sum("<- the changed line" in line for line in lines) == 1


def test_table_lists_every_strategy() -> None:
    listed = re.findall(r"^\| `(\w+)\(\)`", README, re.M)
    strategies = {
        name
        for name, value in vars(samplers).items()
        if isinstance(value, type)
        and issubclass(value, samplers.AbstractSampler)
        and value is not samplers.AbstractSampler
    }
    assert set(listed) == strategies
    assert len(listed) == len(strategies)


def test_engine_is_as_short_as_it_says() -> None:
    assert len((ROOT / "sgs/engine.py").read_text().splitlines()) < 200


def test_linked_files_exist() -> None:
    for link in re.findall(r"\]\(([\w/.-]+)\)", README):
        assert (ROOT / link).exists(), link


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
