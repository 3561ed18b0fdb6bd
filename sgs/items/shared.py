"""Arguments that all items have in common."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shared:
    """Mark an argument that every micro-batch receives whole, instead of its own part of it.

    Gradients reach a shared tensor that requires them, summed over the sampled items.

    Args:
        value: Any argument of the encoder, e.g. a tensor that conditions all items alike.
    """

    value: Any
