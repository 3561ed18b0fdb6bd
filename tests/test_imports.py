"""Imports go one way: no circle, none against the stated direction, none inside of a function."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Each package imports only itself and those that stand for it here.
PACKAGES = {
    "samplers": {"samplers"},
    "aps": {"aps", "samplers"},
    "sgs": {"sgs", "samplers"},
    "examples": {"examples", "sgs", "aps", "samplers"},
    "benchmarks": {"benchmarks", "examples", "sgs", "aps", "samplers"},
}
# Rooms and files of sgs; each imports from its own line and those below.
LAYERS = (
    {"__main__", "__init__"},
    {"planning"},
    {"equivalence"},
    {"sampler"},
    {"autograd", "encoded_items", "inference", "options"},
    {"training_call"},
    {"engine"},
    {"encoder_calls"},
    {"trials"},
    {"micro_batches"},
    {"items", "gradients", "replay"},
    {"option_checks"},
    {"encoder_checks", "subset", "sizes", "call_history"},
    {"batch_norm", "distributed"},
    {"eval_mode", "frozen_batch_norm", "module_tree"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules(package: str) -> dict[str, ast.Module]:
    """Return the syntax of each file of a package, by its dotted name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text())
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a file imports, wherever it does so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # A module of a package, or something in a module: whichever exists.
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (ROOT / inner.replace(".", "/")).with_suffix(".py").exists()
                yield inner if is_module else node.module


def circle(graph: dict[str, set[str]]) -> str | None:
    """Describe a circle of imports, if there is one."""
    try:
        TopologicalSorter(graph).prepare()
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_one_that_is_built_on_it(package: str) -> None:
    for name, tree in modules(package).items():
        used = {target.split(".")[0] for target in imported(tree)} & PACKAGES.keys()
        assert used <= PACKAGES[package], name


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_have_no_circle(package: str) -> None:
    found = modules(package)
    graph = {name: set(imported(tree)) & found.keys() for name, tree in found.items()}
    assert circle(graph) is None


def test_a_circle_is_seen() -> None:
    """The negative control."""
    assert "circle" not in str(circle({"a": {"b"}, "b": set()}))
    assert "cycle" in str(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}))


def test_sgs_imports_from_the_spine_to_the_wings() -> None:
    for name, tree in modules("sgs").items():
        own = LEVEL[name.split(".")[1]]
        for target in imported(tree):
            if target.startswith("sgs."):
                assert LEVEL[target.split(".")[1]] >= own, f"{name} imports {target}"


@pytest.mark.parametrize("package", ["sgs", "samplers", "aps"])
def test_nothing_is_imported_late(package: str) -> None:
    for name, tree in modules(package).items():
        top = {id(node) for node in tree.body}
        late = [
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in top
        ]
        # What is optional is imported where it is asked for.
        assert all(line.split()[1].split(".")[0] not in PACKAGES for line in late), name


@pytest.mark.parametrize("package", ["sgs", "samplers", "aps"])
def test_files_are_short(package: str) -> None:
    files = (ROOT / package).rglob("*.py")
    assert [str(x) for x in files if len(x.read_text().splitlines()) > 200] == []


def test_import_loads_no_compiler() -> None:
    program = "import sgs, sys; sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
