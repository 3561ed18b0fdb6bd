"""The text of a module by the nodes of its syntax tree."""

import ast
import re
from dataclasses import dataclass

# What needs no parentheses, wherever it stands.
ATOMS = (
    ast.Name,
    ast.Attribute,
    ast.Call,
    ast.Subscript,
    ast.List,
    ast.Set,
    ast.Dict,
    ast.Tuple,
    ast.Starred,
    ast.GeneratorExp,
)


@dataclass(frozen=True)
class Edit:
    """Put `text` in place of the bytes from `start` to `end`."""

    start: int
    end: int
    text: str


class Source:
    """A module: what stands where."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._bytes = text.encode()
        self._starts = [0]
        for line in self._bytes.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def start(self, node: ast.AST) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.AST) -> int:
        return self._starts[node.end_lineno - 1] + node.end_col_offset

    def part(self, node: ast.AST) -> str:
        """Return the text of a node; in parentheses if it might need them elsewhere."""
        text = self._bytes[self.start(node) : self.end(node)].decode()
        return text if isinstance(node, ATOMS) else f"({text})"

    def replaced(self, node: ast.AST, text: str) -> Edit:
        return Edit(self.start(node), self.end(node), text)

    def swapped(self, before: ast.AST, after: ast.AST, *, old: str, new: str) -> Edit:
        """Replace what stands between two nodes."""
        start, end = self.end(before), self.start(after)
        between = self._bytes[start:end].decode()
        spaced = re.escape(old).replace(r"\ ", r"\s+")
        return Edit(start, end, re.sub(spaced, new, between, count=1))

    def cut(self, nodes: list[ast.AST], position: int) -> Edit:
        """Leave one of several nodes out that commas separate."""
        if position + 1 < len(nodes):
            return Edit(self.start(nodes[position]), self.start(nodes[position + 1]), "")
        before = self.end(nodes[position - 1]) if position else self.start(nodes[position])
        return Edit(before, self.end(nodes[position]), "")

    def edited(self, edit: Edit) -> str:
        """Return the text of the module after an edit."""
        changed = self._bytes[: edit.start] + edit.text.encode() + self._bytes[edit.end :]
        return changed.decode()
