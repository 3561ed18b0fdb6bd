"""Arguments that all items share."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shared:
    """Mark an argument that is passed whole to every micro-batch, instead of being cut.

    A shared tensor that requires a gradient gets its sum over the sampled items.

    Args:
        value: Any argument of the encoder, e.g. a tensor that conditions all items.
    """

    value: Any
