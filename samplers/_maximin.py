"""Greedy maximin: the next point is the one farthest from those chosen so far."""

import math
from typing import Protocol

import torch
from jaxtyping import Float64
from torch import Tensor

# Number of farthest items that are compared with each other, see NOTE [ Window ].
_WINDOW = 128
# Squared distances below this fraction of the largest squared norm are computed from differences.
_RESOLUTION = 1e-6


def farthest_points(
    features: Float64[Tensor, "items channels"], first: int, *, count: int
) -> list[int]:
    """Choose `count` items, each the farthest from the nearest of those before it.

    Distances that differ by no more than their rounding count as equal. Of equally far items the
    first wins. Items that coincide with a chosen one come last.

    NOTE [ Window ]. The distances of all items to a chosen one take a pass over all features. But
    distances to the nearest chosen item only shrink. Take the few items that are farthest now: as
    long as one of them is farther than every other item was at the start, it is the next choice,
    and only distances among those few are needed. When none is, one pass computes the distances of
    all items to all new choices.

    NOTE [ Products, then differences ]. |x - y|² = |x|² + |y|² - 2xy turns distances into a matrix
    product, but distances far smaller than the norms lose their digits. Once the largest distance
    is that small, all are computed again from differences of the features. That is slower but
    exact: equal points have distance 0.
    """
    points = scaled(features)
    distances: _Distances = _FromProducts(points)
    nearest = points.new_full((len(points),), torch.inf)
    chosen = new = [first]
    while len(chosen) < count:
        for start in range(0, len(new), _WINDOW):
            to_new = distances.between(torch.tensor(new[start : start + _WINDOW]))
            torch.minimum(nearest, to_new.amin(dim=0), out=nearest)
        # Below every distance: an item is never chosen twice, even if all others coincide with it.
        nearest[new] = -torch.inf
        new = _next_points(nearest, distances, limit=count - len(chosen))
        chosen = chosen + new
        if not new and isinstance(distances, _FromProducts):
            distances = _FromDifferences(points)
            nearest.fill_(torch.inf)
            new = chosen
        elif not new:
            return chosen + nearest.isfinite().nonzero()[: count - len(chosen), 0].tolist()
    return chosen


def scaled(features: Float64[Tensor, "items channels"]) -> Float64[Tensor, "items channels"]:
    """Return the features divided by a power of two: none exceeds 1 and no square overflows."""
    low, high = features.aminmax()
    _, exponent = math.frexp(max(-float(low), float(high)))
    # In two steps, because a single factor could overflow.
    half = exponent // 2
    return (features * math.ldexp(1, -half)).mul_(math.ldexp(1, half - exponent))


def _next_points(
    nearest: Float64[Tensor, " items"], distances: "_Distances", *, limit: int
) -> list[int]:
    """Choose up to `limit` items, or none if the others are too near to the chosen ones."""
    top = nearest.topk(min(_WINDOW + 1, len(nearest)))
    farthest = float(top.values[0])
    if farthest <= distances.smallest:
        return []
    outside = float(top.values[_WINDOW]) if len(nearest) > _WINDOW else -math.inf
    least = farthest - distances.rounding(farthest)
    if least <= outside:
        # The window cannot hold all equally far items.
        return [int((nearest >= least).byte().argmax())]
    window = top.indices[:_WINDOW].sort().values
    # A loop of small steps runs fastest on the CPU.
    near = nearest[window].cpu()
    between = distances.between(window, window).cpu()
    picked: list[int] = []
    while len(picked) < limit:
        farthest = float(near.max())
        least = farthest - distances.rounding(farthest)
        if least <= outside or farthest <= distances.smallest:
            break
        picked.append(int((near >= least).byte().argmax()))
        torch.minimum(near, between[picked[-1]], out=near)
    return window[picked].tolist()


class _Distances(Protocol):
    """Squared distances between items; up to `smallest` they are indistinguishable from 0."""

    smallest: float

    def between(
        self, rows: Tensor, columns: Tensor | slice = ...
    ) -> Float64[Tensor, "rows columns"]:
        """Return the squared distances between items, by default to all."""
        ...

    def rounding(self, distance: float) -> float:
        """Return the largest rounding error of a squared distance."""
        ...


class _FromProducts:
    def __init__(self, points: Float64[Tensor, "items channels"]) -> None:
        # A common offset would cost precision.
        self._points = points - points.mean(dim=0)
        self._squared_norms = self._points.square().sum(dim=1)
        largest = float(self._squared_norms.max())
        self.smallest = _RESOLUTION * largest
        self._rounding = _relative_rounding(points) * largest

    def between(
        self, rows: Tensor, columns: Tensor | slice = slice(None)
    ) -> Float64[Tensor, "rows columns"]:
        products = torch.addmm(
            self._squared_norms[columns], self._points[rows], self._points[columns].T, alpha=-2
        )
        return products.add_(self._squared_norms[rows, None])

    def rounding(self, distance: float) -> float:
        return self._rounding


class _FromDifferences:
    smallest = 0.0

    def __init__(self, points: Float64[Tensor, "items channels"]) -> None:
        self._points = points
        self._relative_rounding = _relative_rounding(points)

    def between(
        self, rows: Tensor, columns: Tensor | slice = slice(None)
    ) -> Float64[Tensor, "rows columns"]:
        return torch.cdist(
            self._points[rows],
            self._points[columns],
            compute_mode="donot_use_mm_for_euclid_dist",
        ).square_()

    def rounding(self, distance: float) -> float:
        return distance * self._relative_rounding


def _relative_rounding(points: Float64[Tensor, "items channels"]) -> float:
    return 16 * points.shape[1] * torch.finfo(points.dtype).eps
