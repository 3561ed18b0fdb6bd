"""Greedy maximin: the next point is the one farthest from those chosen so far."""

import math
from typing import Protocol

import torch
from jaxtyping import Float64
from torch import Tensor

# Items whose distances to each other decide the next choices, see NOTE [ Window ].
_WINDOW = 128
# Squared distances below this fraction of the largest squared norm are taken from differences.
_RESOLUTION = 1e-6


def farthest_points(
    features: Float64[Tensor, "items channels"], first: int, *, count: int
) -> list[int]:
    """Choose `count` items, each the farthest from the nearest of those before it.

    Distances that differ by no more than their rounding are equal, and the first of equally far
    items wins. Items that coincide with a chosen one come last.

    NOTE [ Window ]. To measure all items from one that was chosen takes a pass over all features.
    But distances only shrink: as long as one of the few items that are farthest now is farther than
    all others were at the start, it is the next, and only distances among those few are needed. So
    they are chosen from until that ends, and then one pass measures all items from all new ones.

    NOTE [ Products, then differences ]. |x - y|² = |x|² + |y|² - 2xy makes a matrix product of the
    distances, but what is far smaller than the norms loses its digits. Once the largest distance is
    that small, all are computed again from differences of the features, which is slower but exact:
    equal points are at distance 0 then.
    """
    points = scaled(features)
    distances: _Distances = _FromProducts(points)
    nearest = points.new_full((len(points),), torch.inf)
    chosen = new = [first]
    while len(chosen) < count:
        for start in range(0, len(new), _WINDOW):
            to_new = distances.between(torch.tensor(new[start : start + _WINDOW]))
            torch.minimum(nearest, to_new.amin(dim=0), out=nearest)
        # Below every distance: a chosen item never returns, even when all others coincide with it.
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
    """Return the features over a power of two, so that none is above 1 and no square overflows."""
    low, high = features.aminmax()
    _, exponent = math.frexp(max(-float(low), float(high)))
    # In two steps: one factor could itself leave the range of the type.
    half = exponent // 2
    return (features * math.ldexp(1, -half)).mul_(math.ldexp(1, half - exponent))


def _next_points(
    nearest: Float64[Tensor, " items"], distances: "_Distances", *, limit: int
) -> list[int]:
    """Choose up to `limit` items, or none if what is left is too near to the chosen ones."""
    top = nearest.topk(min(_WINDOW + 1, len(nearest)))
    farthest = float(top.values[0])
    if farthest <= distances.smallest:
        return []
    outside = float(top.values[_WINDOW]) if len(nearest) > _WINDOW else -math.inf
    least = farthest - distances.rounding(farthest)
    if least <= outside:
        # More items are equally far than the window holds.
        return [int((nearest >= least).byte().argmax())]
    window = top.indices[:_WINDOW].sort().values
    # A loop of small steps is fastest on the CPU.
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
    """Squared distances; those of `smallest` and less cannot be told from 0."""

    smallest: float

    def between(
        self, rows: Tensor, columns: Tensor | slice = ...
    ) -> Float64[Tensor, "rows columns"]:
        """Return the squared distances between items, by default to all."""
        ...

    def rounding(self, distance: float) -> float:
        """Return how far off a squared distance may be."""
        ...


class _FromProducts:
    def __init__(self, points: Float64[Tensor, "items channels"]) -> None:
        # A common offset would cost digits.
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
