"""Small changes of expressions."""

import ast
from collections.abc import Callable, Iterator

from tests.mutants.source import Edit, Source

OPERATORS = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "//"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_PAIRS = [
    ("min", "max"),
    ("amin", "amax"),
    ("argmin", "argmax"),
    ("minimum", "maximum"),
    ("floor", "ceil"),
    ("any", "all"),
    ("zeros", "ones"),
    ("zeros_like", "ones_like"),
    ("new_zeros", "new_ones"),
    ("float", "double"),
    ("float32", "float64"),
    ("sum", "prod"),
    ("ValueError", "TypeError"),
]
COMMUTATIVE = ("min", "max", "minimum", "maximum", "logaddexp", "equal")
NAMES = dict(_PAIRS) | {second: first for first, second in _PAIRS}


def binary(node: ast.BinOp, source: Source) -> Iterator[Edit]:
    """Take the opposite operator, or one of the operands alone."""
    if type(node.op) in OPERATORS:
        old, new = OPERATORS[type(node.op)]
        yield source.swapped(node.left, node.right, old=old, new=new)
    yield source.replaced(node, source.part(node.left))
    yield source.replaced(node, source.part(node.right))


def boolean(node: ast.BoolOp, source: Source) -> Iterator[Edit]:
    """Take the opposite operator, or leave one of the operands out."""
    old, new = OPERATORS[type(node.op)]
    values = [source.part(value) for value in node.values]
    for position in range(len(values)):
        before, after = f" {old} ".join(values[:position]), f" {old} ".join(values[position + 1 :])
        yield source.replaced(node, f" {old} ".join(filter(None, (before, after))))
        if before:
            rest = f" {old} ".join(values[position:])
            yield source.replaced(node, f"{before} {new} {rest}")


def comparison(node: ast.Compare, source: Source) -> Iterator[Edit]:
    """Move the bound, or ask for the opposite."""
    operands = [node.left, *node.comparators]
    for operator, before, after in zip(node.ops, operands, operands[1:], strict=False):
        old, new = OPERATORS[type(operator)]
        yield source.swapped(before, after, old=old, new=new)


def unary(node: ast.UnaryOp, source: Source) -> Iterator[Edit]:
    """Leave the operator out."""
    yield source.replaced(node, source.part(node.operand))


def constant(node: ast.Constant, source: Source) -> Iterator[Edit]:
    """Take the opposite, one more, or another text."""
    if isinstance(node.value, bool):
        yield source.replaced(node, str(not node.value))
    elif isinstance(node.value, int | float):
        yield source.replaced(node, str(node.value + 1))
    elif isinstance(node.value, str):
        yield source.replaced(node, repr(f"XX{node.value}XX"))


def conditional(node: ast.IfExp, source: Source) -> Iterator[Edit]:
    """Take the same side always."""
    yield source.replaced(node, source.part(node.body))
    yield source.replaced(node, source.part(node.orelse))


def comprehension(node: ast.ListComp | ast.GeneratorExp, source: Source) -> Iterator[Edit]:
    """Leave nothing out."""
    for generator in node.generators:
        for condition in generator.ifs:
            yield source.replaced(condition, "True")


def sequence(node: ast.Tuple | ast.List | ast.Set, source: Source) -> Iterator[Edit]:
    """Leave one element out."""
    if not isinstance(getattr(node, "ctx", None), ast.Store):
        if len(node.elts) == 1:
            yield source.replaced(node, "set()" if isinstance(node, ast.Set) else "()")
        elif len(node.elts) == 2 and isinstance(node, ast.Tuple):
            yield from (source.replaced(node, f"({source.part(x)},)") for x in node.elts)
        else:
            yield from (source.cut(node.elts, position) for position in range(len(node.elts)))


def mapping(node: ast.Dict, source: Source) -> Iterator[Edit]:
    """Leave one entry out."""
    for key, value in zip(node.keys, node.values, strict=True):
        if key is not None:
            yield Edit(source.start(key), source.end(value), "**{}")


def bounds(node: ast.Slice, source: Source) -> Iterator[Edit]:
    """Leave one bound out."""
    for bound in (node.lower, node.upper, node.step):
        if bound is not None:
            yield source.replaced(bound, "")


def call(node: ast.Call, source: Source) -> Iterator[Edit]:
    """Leave an argument or the call itself out, or swap two arguments."""
    arguments = [*node.args, *node.keywords]
    # Without one of its first arguments a call fails at once.
    for position in range(max(1, len(node.args) - 1), len(arguments)):
        yield source.cut(arguments, position)
    called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    pairs = zip(node.args, node.args[1:], strict=False)
    for first, second in () if called in COMMUTATIVE else pairs:
        parts = [source.part(first), source.part(second)]
        yield Edit(source.start(first), source.end(second), f"{parts[1]}, {parts[0]}")
    if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
        yield source.replaced(node, source.part(node.func.value))
    elif node.args and not isinstance(node.args[0], ast.Starred | ast.GeneratorExp):
        yield source.replaced(node, source.part(node.args[0]))


def _is_module(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute):
        return _is_module(node.value)
    return isinstance(node, ast.Name) and node.id in ("torch", "math", "nn")


def name(node: ast.Name | ast.Attribute, source: Source) -> Iterator[Edit]:
    """Take what is called the opposite."""
    old = node.id if isinstance(node, ast.Name) else node.attr
    if old in NAMES:
        end = source.end(node)
        yield Edit(end - len(old), end, NAMES[old])


CHANGES: dict[type, Callable[..., Iterator[Edit]]] = {
    ast.BinOp: binary,
    ast.BoolOp: boolean,
    ast.Compare: comparison,
    ast.UnaryOp: unary,
    ast.Constant: constant,
    ast.IfExp: conditional,
    ast.ListComp: comprehension,
    ast.GeneratorExp: comprehension,
    ast.DictComp: comprehension,
    ast.Tuple: sequence,
    ast.List: sequence,
    ast.Set: sequence,
    ast.Dict: mapping,
    ast.Slice: bounds,
    ast.Call: call,
    ast.Name: name,
    ast.Attribute: name,
}
