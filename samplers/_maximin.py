"""Greedy maximin: the next point is the one farthest from those chosen so far."""

from typing import Protocol

import torch
from jaxtyping import Float64
from torch import Tensor

# Items whose distances are computed together, see NOTE [ Looking ahead ].
_AHEAD = 16
# Squared distances below this fraction of the largest squared norm are taken from differences.
_RESOLUTION = 1e-6


def farthest_points(
    features: Float64[Tensor, "items channels"], first: int, *, count: int
) -> list[int]:
    """Choose `count` items, each the farthest from the nearest of those before it.

    Distances that differ by no more than their rounding are equal, and the first of equally far
    items wins. Items that coincide with a chosen one come last.

    NOTE [ Looking ahead ]. A step needs the distances of all items to the item chosen last: one
    pass over all features, as long as reading them takes. The items that are farthest now are
    likely to be chosen soon, so one pass serves several of them at little more cost, and most
    steps find theirs done. What is chosen does not depend on it.

    NOTE [ Products, then differences ]. |x - y|² = |x|² + |y|² - 2xy makes a matrix product of the
    distances, but what is far smaller than the norms loses its digits. Distances only shrink, so
    once the largest is that small, all are computed again from differences of the features, which
    is slower by half but exact: equal points are at distance 0 then.
    """
    points = scaled(features)
    distances: _Distances = _FromProducts(points)
    nearest = points.new_full((len(points),), torch.inf)
    chosen = [first]
    while len(chosen) < count:
        torch.minimum(nearest, distances.to(chosen[-1], nearest), out=nearest)
        # Below every distance: a chosen item never returns, even when all others coincide with it.
        nearest[chosen[-1]] = -torch.inf
        farthest = nearest.max()
        if float(farthest) < distances.smallest:
            distances = _FromDifferences(points)
            nearest.fill_(torch.inf)
            for item in chosen:
                torch.minimum(nearest, distances.to(item, nearest), out=nearest)
            nearest[chosen] = -torch.inf
            farthest = nearest.max()
        if float(farthest) == 0:
            return chosen + nearest.isfinite().nonzero()[: count - len(chosen), 0].tolist()
        tied = nearest >= farthest - distances.rounding(farthest)
        chosen.append(int(tied.byte().argmax()))
    return chosen


def scaled(features: Float64[Tensor, "items channels"]) -> Float64[Tensor, "items channels"]:
    """Return the features over a power of two, so that none is above 1 and no square overflows."""
    _, exponent = torch.frexp(features.abs().max())
    # In two steps: one factor could itself leave the range of the type.
    half = exponent.div(2, rounding_mode="floor")
    return features.ldexp(-half).ldexp(half - exponent)


class _Distances(Protocol):
    """Squared distances of all items to one of them."""

    smallest: float

    def to(self, item: int, nearest: Float64[Tensor, " items"]) -> Float64[Tensor, " items"]:
        """Return the squared distances to an item, given what was the nearest to each so far."""
        ...

    def rounding(self, distance: Tensor) -> Tensor | float:
        """Return how far off a squared distance may be."""
        ...


class _FromProducts:
    def __init__(self, points: Float64[Tensor, "items channels"]) -> None:
        # A common offset would cost digits.
        self._points = points - points.mean(dim=0)
        self._squared_norms = self._points.square().sum(dim=1)
        self._known: dict[int, Tensor] = {}
        largest = float(self._squared_norms.max())
        self.smallest = _RESOLUTION * largest
        self._rounding = _relative_rounding(points) * largest

    def to(self, item: int, nearest: Float64[Tensor, " items"]) -> Float64[Tensor, " items"]:
        if item not in self._known:
            farthest = nearest.topk(min(_AHEAD, len(nearest))).indices
            ahead = [item, *farthest.tolist()]
            columns = torch.addmm(
                self._squared_norms, self._points[ahead], self._points.T, alpha=-2
            )
            columns += self._squared_norms[ahead, None]
            self._known = dict(zip(ahead, columns, strict=True))
        return self._known[item]

    def rounding(self, distance: Tensor) -> Tensor | float:
        return self._rounding


class _FromDifferences:
    smallest = -torch.inf

    def __init__(self, points: Float64[Tensor, "items channels"]) -> None:
        self._points = points

    def to(self, item: int, nearest: Float64[Tensor, " items"]) -> Float64[Tensor, " items"]:
        row = self._points[item : item + 1]
        return torch.cdist(row, self._points, compute_mode="donot_use_mm_for_euclid_dist")[
            0
        ].square()

    def rounding(self, distance: Tensor) -> Tensor | float:
        return distance * _relative_rounding(self._points)


def _relative_rounding(points: Float64[Tensor, "items channels"]) -> float:
    return 16 * points.shape[1] * torch.finfo(points.dtype).eps
