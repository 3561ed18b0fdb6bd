"""From a sampling ratio to a number of items."""

import math
from fractions import Fraction
from numbers import Integral


def count_from_ratio(ratio: float, num_items: int) -> int:
    """Return the number of items that a ratio keeps.

    It is `ratio * num_items` rounded half up, and at least 1. The product uses the decimal digits
    of the ratio, because `0.29 * 100` is 28.999999999999996 in binary floating point.

    Args:
        ratio: Fraction of the items that is kept, in (0, 1].
        num_items: Number of items, at least 1.

    Raises:
        ValueError: If `ratio` is outside (0, 1], or `num_items` is not an integer of at least 1.

    Example:
        >>> count_from_ratio(0.29, 100), count_from_ratio(0.06, 8256)
        (29, 495)
    """
    if not 0 < ratio <= 1:
        raise ValueError(
            f"count_from_ratio(ratio={ratio!r}): expected a value in (0, 1], got {ratio!r}. "
            "Pass the fraction of the items to keep, e.g. 0.3; 1.0 keeps them all."
        )
    if not isinstance(num_items, Integral) or num_items < 1:
        raise ValueError(
            f"count_from_ratio(num_items={num_items!r}): expected an integer of at least 1, got "
            f"{num_items!r}. Leave out empty inputs before sampling."
        )
    exact = Fraction(repr(float(ratio))) * int(num_items)
    return max(1, math.floor(exact + Fraction(1, 2)))
