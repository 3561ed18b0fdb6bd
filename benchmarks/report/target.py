"""A promise and what came of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One promise.

    Attributes:
        subject: What is measured.
        paper: The paper's figure, measured on a V100.
        target: What was wanted.
        ours: What was measured.
        is_met: Whether that is enough; None if it could not be measured.
    """

    subject: str
    paper: str
    target: str
    ours: str
    is_met: bool | None

    def cells(self) -> tuple[str, ...]:
        """Return a line of the table."""
        verdict = {True: "yes", False: "**no**", None: "open"}[self.is_met]
        return self.subject, self.paper, self.target, self.ours, verdict
