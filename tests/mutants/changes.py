"""All small changes of a module that might make it wrong.

Like mutmut, but also where that cannot reach: in decorated functions and properties, in constants,
defaults and decorators, and by leaving statements, operands and arguments out. What changes no
behaviour stays: docstrings, annotations, imports, assertions, and what builds an error's message.
"""

import ast
import difflib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.mutants import expressions, statements
from tests.mutants.codes import codes_of
from tests.mutants.source import Edit, Source


@dataclass(frozen=True)
class Change:
    """One edit of a module.

    Attributes:
        file: Path of the module, from the root of the repository.
        scope: Name of the function or class that holds it, behind those around it.
        diff: The lines before (each behind a -) and after (behind a +).
        text: The changed module.
        lines: First and last line of what must run for the change to be noticed.
        is_definition: Whether it only shows in what importing the module makes.
    """

    file: str
    scope: str
    diff: str
    text: str
    lines: tuple[int, int]
    is_definition: bool


@dataclass(frozen=True)
class _Place:
    """A statement and the functions and classes around it."""

    statement: ast.stmt
    around: tuple[ast.FunctionDef | ast.ClassDef, ...]

    @property
    def is_definition(self) -> bool:
        """Whether importing the module runs it."""
        is_inside = any(isinstance(node, ast.FunctionDef) for node in self.around)
        return not is_inside or self.statement is self.around[-1]

    @property
    def lines(self) -> tuple[int, int]:
        first, last = self.statement.lineno, self.statement.end_lineno
        assert last is not None
        if self.is_definition:
            return 0, sys.maxsize
        block = next(statements.blocks(self.statement), None)
        return first, max(first, block[0].lineno - 1) if block else last


def changes_of(file: str, text: str) -> list[Change]:
    """Return every change of a module, in the order of its lines."""
    source = Source(text)
    free_names = _free_names(text)
    found: dict[str, Change] = {}
    for place in _places(ast.parse(text).body, ()):
        for edit in _edits(place, source):
            changed = source.edited(edit)
            if changed != text and changed not in found:
                found[changed] = Change(
                    file,
                    scope=".".join(node.name for node in place.around) or "the module",
                    diff=_diff(text, changed),
                    text=changed,
                    lines=place.lines,
                    # A function that has been made keeps its free variables.
                    is_definition=place.is_definition or _free_names(changed) != free_names,
                )
    return list(found.values())


def _free_names(text: str) -> dict[str, tuple[str, ...]]:
    return {code.co_qualname: code.co_freevars for code in codes_of(text, "")}


def _edits(place: _Place, source: Source) -> Iterator[Edit]:
    operator = statements.CHANGES.get(type(place.statement))
    if operator is not None and not _names_something_new(place):
        yield from operator(place.statement, source)
    for node in statements.parts(place.statement):
        if (operator := expressions.CHANGES.get(type(node))) is not None:
            yield from operator(node, source)


def _names_something_new(place: _Place) -> bool:
    """Tell whether all that follows would fail without the statement."""
    if not isinstance(place.statement, ast.Assign) or place.is_definition:
        return False
    names = {
        node.id
        for target in place.statement.targets
        for node in ast.walk(target)
        if isinstance(node, ast.Name)
    }
    known = {node.arg for node in ast.walk(place.around[-1]) if isinstance(node, ast.arg)}
    for node in ast.walk(place.around[-1]):
        if isinstance(node, ast.Name) and node.lineno < place.statement.lineno:
            known.add(node.id)
    return not names & known


def _places(
    block: Sequence[ast.stmt], around: tuple[ast.FunctionDef | ast.ClassDef, ...]
) -> Iterator[_Place]:
    for statement in block:
        is_scope = isinstance(statement, ast.FunctionDef | ast.ClassDef)
        inner = (*around, statement) if is_scope else around
        yield _Place(statement, inner)
        for nested in statements.blocks(statement):
            # In front of an error stands what builds its message.
            builds_message = isinstance(nested[-1], ast.Raise) and not is_scope
            yield from _places(nested[-1:] if builds_message else nested, inner)


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return "\n".join(line for line in list(lines)[2:] if not line.startswith("@@"))
