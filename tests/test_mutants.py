"""What the changes of a module are, and that the list of those that survive is up to date."""

import pytest

from tests.mutants.changes import changes_of
from tests.mutants.survivors import DOCUMENT, Survivor, explained
from tests.mutate_samplers import all_changes

KNOWN = explained(DOCUMENT.read_text())
CURRENT = {Survivor.of(change) for change in all_changes()}


def changed(text: str) -> set[str]:
    """Return the changed line or lines of a module after each change."""
    return {
        "\n".join(line[1:] for line in change.diff.splitlines() if line.startswith("+"))
        for change in changes_of("module.py", text)
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = a + b", ["pass", "x = a - b", "x = a", "x = b"]),
        ("x = a < b", ["pass", "x = a <= b"]),
        ("x = b < a <= c", ["pass", "x = b <= a <= c", "x = b < a < c"]),
        ("x = 1", ["pass", "x = 2"]),
        ("x = not a", ["pass", "x = a"]),
        ("x = True", ["pass", "x = False"]),
        ("x = 'name'", ["pass", "x = 'XXnameXX'"]),
        ("x = a if b else c", ["pass", "x = a", "x = c"]),
        ("x = a and b", ["pass", "x = a or b", "x = a", "x = b"]),
        ("x = f(a, b=c)", ["pass", "x = f(a)", "x = a"]),
        ("x = a.f(b)", ["pass", "x = a"]),
        ("x = f(a, b)", ["pass", "x = f(a)", "x = f(b, a)", "x = a"]),
        ("x = min(a, b)", ["pass", "x = max(a, b)", "x = min(a)", "x = a"]),
        ("x = a[1:]", ["pass", "x = a[:]", "x = a[2:]"]),
        ("x = {a, b}", ["pass", "x = {b}", "x = {a}"]),
        ("x = [a for a in b if c]", ["pass", "x = [a for a in b if True]"]),
        ("x += a", ["pass", "x -= a", "x = a"]),
        ("while a:\n    break", ["while False:", "    pass", "    continue"]),
        ("if a:\n    f()", ["if False:", "if True:", "    pass"]),
        ("for x in a:\n    b", ["for x in ():", "    pass"]),
        ("with a:\n    b", ["if True:", "    pass"]),
        ("@a\ndef f():\n    return b", [""]),
    ],
)  # fmt: skip
def test_changes_of_known_statements(text: str, expected: list[str]) -> None:
    assert changed(text) == set(expected)


def test_words_are_left_alone() -> None:
    text = '''
"""What it is."""
import torch

def f(a: "b" = None) -> "c":
    """What it does."""
    assert a is not None
    if a:
        shown = ", ".join(a)
        raise ValueError(f"expected {shown}")
'''
    assert changed(text) == {"    if False:", "    if True:", "        pass"}


def test_change_knows_where_it_is_and_which_lines_must_run() -> None:
    text = """
a = 1
class B:
    c = 2
    def d(self):
        if (e and
            f):
            return 3
"""
    places = {(change.scope, change.lines[0]) for change in changes_of("module.py", text)}
    assert places == {("the module", 0), ("B", 0), ("B.d", 6), ("B.d", 8)}


def test_every_explained_change_is_one() -> None:
    """Or its explanation is out of date."""
    assert not [str(survivor) for survivor in KNOWN if survivor not in CURRENT]
    assert all(KNOWN.values())


def test_document_of_other_code_is_detected() -> None:
    """The negative control."""
    text = "## a.py\n\n### f\n\nIt is the same.\n\n```diff\n-a < b\n+a <= b\n\n-c\n+d\n```\n"
    first, second = Survivor("a.py", "f", "-a < b\n+a <= b"), Survivor("a.py", "f", "-c\n+d")
    assert explained(text) == {first: "It is the same.", second: "It is the same."}
    assert first not in CURRENT
