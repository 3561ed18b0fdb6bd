"""What the kinds of encoders are called with: one row per item."""

from collections.abc import Callable

import torch

from tests.sgs.kinds.kind import Arguments

DrawArguments = Callable[[int, torch.Generator], Arguments]


def normal(*item_shape: int, name: str = "items") -> DrawArguments:
    """Return a function that draws so many items of the given shape.

    Args:
        item_shape: The shape of one item.
        name: The parameter of `forward` that takes them; torch's own modules call it "input".
    """

    def draw(num_items: int, generator: torch.Generator) -> Arguments:
        return {name: torch.randn(num_items, *item_shape, generator=generator)}

    return draw


def tokens(length: int, *, count: int) -> DrawArguments:
    """Return a function that draws sequences of so many different integers."""

    def draw(num_items: int, generator: torch.Generator) -> Arguments:
        return {"items": torch.randint(count, (num_items, length), generator=generator)}

    return draw


def sequences_and_lengths(num_items: int, generator: torch.Generator) -> Arguments:
    """Draw sequences of which each is filled up to a length of its own."""
    return {
        "items": torch.randn(num_items, 5, 4, generator=generator),
        "lengths": torch.randint(1, 6, (num_items,), generator=generator),
    }


def sequences_and_padding(num_items: int, generator: torch.Generator) -> Arguments:
    """Draw sequences and the mask of their padded positions."""
    drawn = sequences_and_lengths(num_items, generator)
    return {"items": drawn["items"], "padding": torch.arange(5) >= drawn["lengths"][:, None]}


VECTORS = normal(6)
INPUT = normal(6, name="input")
SEQUENCES = normal(5, 4)
