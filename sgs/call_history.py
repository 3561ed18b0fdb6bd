"""What a sampler remembers of its calls."""

from __future__ import annotations

from dataclasses import dataclass, field

from sgs.sizes import Sizes


@dataclass
class CallHistory:
    """What later calls of a sampler need to know of earlier ones.

    Attributes:
        chosen: The sizes of the last call that trains, if a budget chose them.
        num_backwards: How many backward passes have ended.
        has_tried_items: Whether a call has tried whether items interact.
        changed: Names of the state of modules that calls have changed.
    """

    chosen: Sizes | None = None
    num_backwards: int = 0
    has_tried_items: bool = False
    changed: set[str] = field(default_factory=set)
