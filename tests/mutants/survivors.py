"""The document that lists which changes no test notices, and why."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.changes import Change

DOCUMENT = Path(__file__).parent / "survivors.md"


@dataclass(frozen=True)
class Survivor:
    """A change that no test notices.

    Attributes:
        file: Where it is, from the root of the repository.
        scope: As of `Change`.
        diff: As of `Change`.
    """

    file: str
    scope: str
    diff: str

    @classmethod
    def of(cls, change: Change) -> "Survivor":
        return cls(change.file, change.scope, change.diff)

    def __str__(self) -> str:
        return f"{self.file}, {self.scope}:\n{self.diff}\n"


def explained(text: str) -> dict[Survivor, str]:
    """Return the reason of each change that a document lists.

    A heading names the file, one below it the scope. A reason is one paragraph, and the changes
    that it explains follow it in a block of diffs with blank lines between them.
    """
    return dict(_entries(text))


def _entries(text: str) -> Iterator[tuple[Survivor, str]]:
    file = scope = reason = ""
    for block in _blocks(text):
        if block.startswith("## "):
            file = block.removeprefix("## ")
        elif block.startswith("### "):
            scope = block.removeprefix("### ")
        elif block.startswith("```diff\n"):
            diffs = block.removeprefix("```diff\n").removesuffix("\n```")
            for diff in diffs.split("\n\n"):
                yield Survivor(file, scope, diff), reason
        else:
            reason = block


def _blocks(text: str) -> Iterator[str]:
    """Return paragraphs, headings, and diffs between fences."""
    for position, part in enumerate(text.split("```")):
        if position % 2:
            yield f"```{part}```"
        else:
            yield from filter(None, (paragraph.strip() for paragraph in part.split("\n\n")))
