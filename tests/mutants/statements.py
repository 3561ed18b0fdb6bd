"""Small changes of statements, and which of their expressions decide what happens."""

import ast
from collections.abc import Callable, Iterator, Sequence

from tests.mutants.expressions import OPERATORS
from tests.mutants.source import Edit, Source

# The first only tells type checkers something.
KEPT_DECORATORS = ("final",)


def expression(node: ast.Expr, source: Source) -> Iterator[Edit]:
    """Leave it out, unless it is a docstring."""
    if not isinstance(node.value, ast.Constant):
        yield source.replaced(node, "pass")


def assignment(node: ast.Assign, source: Source) -> Iterator[Edit]:
    """Leave it out. Where that leaves a name without a value, the tests notice at once."""
    yield source.replaced(node, "pass")


def augmented(node: ast.AugAssign, source: Source) -> Iterator[Edit]:
    """Leave it out, take the opposite operator, or forget the old value."""
    yield source.replaced(node, "pass")
    old, new = OPERATORS[type(node.op)]
    yield source.swapped(node.target, node.value, old=f"{old}=", new=f"{new}=")
    yield source.swapped(node.target, node.value, old=f"{old}=", new="=")


def raised(node: ast.Raise, source: Source) -> Iterator[Edit]:
    """Go on instead."""
    yield source.replaced(node, "pass")


def stopped(node: ast.Break | ast.Continue, source: Source) -> Iterator[Edit]:
    """Go on instead, or stop."""
    yield source.replaced(node, "pass")
    yield source.replaced(node, "continue" if isinstance(node, ast.Break) else "break")


def condition(node: ast.If | ast.While, source: Source) -> Iterator[Edit]:
    """Go the same way always."""
    yield source.replaced(node.test, "False")
    if isinstance(node, ast.If):
        yield source.replaced(node.test, "True")


def loop(node: ast.For, source: Source) -> Iterator[Edit]:
    """Never run."""
    yield source.replaced(node.iter, "()")


def context(node: ast.With, source: Source) -> Iterator[Edit]:
    """Run what is inside without it."""
    last = node.items[-1].optional_vars or node.items[-1].context_expr
    yield Edit(source.start(node), source.end(last), "if True")


def decorated(node: ast.FunctionDef | ast.ClassDef, source: Source) -> Iterator[Edit]:
    """Leave a decorator out."""
    for decorator in node.decorator_list:
        if ast.unparse(decorator) not in KEPT_DECORATORS:
            yield Edit(source.start(decorator) - 1, source.end(decorator), "")


CHANGES: dict[type, Callable[..., Iterator[Edit]]] = {
    ast.Expr: expression,
    ast.Assign: assignment,
    ast.AugAssign: augmented,
    ast.Raise: raised,
    ast.Break: stopped,
    ast.Continue: stopped,
    ast.If: condition,
    ast.While: condition,
    ast.For: loop,
    ast.With: context,
    ast.FunctionDef: decorated,
    ast.ClassDef: decorated,
}


def parts(statement: ast.stmt) -> Iterator[ast.expr]:
    """Return all expressions of a statement, without other statements, that are no words."""
    if isinstance(statement, ast.Import | ast.ImportFrom | ast.Assert | ast.Raise | ast.Delete):
        return
    if isinstance(statement, ast.FunctionDef):
        given = statement.args
        heads: list[ast.AST | None] = [*given.defaults, *given.kw_defaults]
        heads += statement.decorator_list
    elif isinstance(statement, ast.AnnAssign):
        heads = [statement.value]
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        heads = []
    else:
        heads = [x for x in ast.iter_child_nodes(statement) if not isinstance(x, ast.stmt)]
    for head in heads:
        yield from _inner(head)


def _inner(node: ast.AST | None) -> Iterator[ast.expr]:
    # Positions inside of f-strings are wrong before Python 3.12, and they are words.
    if node is None or isinstance(node, ast.JoinedStr | ast.ExceptHandler):
        return
    if isinstance(node, ast.expr | ast.Slice):
        yield node
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
        children = [node.value, *node.slice.elts]
    for child in children:
        yield from _inner(child)


def blocks(statement: ast.stmt) -> Iterator[Sequence[ast.stmt]]:
    """Return the blocks of statements that one holds."""
    for field in ("body", "orelse", "finalbody"):
        if block := getattr(statement, field, None):
            yield block
    for handler in getattr(statement, "handlers", ()):
        yield handler.body
