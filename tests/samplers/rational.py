"""Inclusion probabilities in fractions: what floating point numbers stand for, without rounding."""

from fractions import Fraction
from itertools import combinations

from torch import Tensor

Matrix = list[list[Fraction]]


def fractions_of(rows: Tensor) -> Matrix:
    """Return the values of a matrix; every finite floating point number is a fraction."""
    return [[Fraction(value) for value in row] for row in rows.double().tolist()]


def product(left: Matrix, right: Matrix) -> Matrix:
    """Return every row of the one times every row of the other."""
    return [[sum(a * b for a, b in zip(x, y, strict=True)) for y in right] for x in left]


def determinant(matrix: Matrix) -> Fraction:
    """Return that of a positive semi-definite matrix, where a pivot of 0 has a row of zeros."""
    rows = [list(row) for row in matrix]
    result = Fraction(1)
    for k, pivot_row in enumerate(rows):
        pivot = pivot_row[k]
        result *= pivot
        if pivot == 0:
            return result
        for row in rows[k + 1 :]:
            factor = row[k] / pivot
            row[k:] = [a - factor * b for a, b in zip(row[k:], pivot_row[k:], strict=True)]
    return result


def k_dpp_probability(kernel: Matrix, count: int, scale: list[Fraction]) -> list[Fraction]:
    """Go through all subsets S of `count` items, weighted by det(L_S) over their scales."""
    total, hits = Fraction(0), [Fraction(0)] * len(kernel)
    for subset in combinations(range(len(kernel)), count):
        weight = determinant([[kernel[i][j] for j in subset] for i in subset])
        for item in subset:
            weight /= scale[item]
        total += weight
        for item in subset:
            hits[item] += weight
    return [hit / total for hit in hits]


def cosine_probability(features: Tensor, count: int, jitter: float) -> list[Fraction]:
    """Return the probabilities of the cosine similarities plus jitter, without a square root.

    D⁻¹ F Fᵀ D⁻¹ + jitter · I, with the lengths in D, has the determinants of F Fᵀ + jitter · D²
    over those of D².
    """
    gram = product(fractions_of(features), fractions_of(features))
    squares = [row[i] or Fraction(1) for i, row in enumerate(gram)]
    for i, square in enumerate(squares):
        gram[i][i] += Fraction(jitter) * square
    return k_dpp_probability(gram, count, squares)


def proportional_probability(sizes: list[float], count: int) -> list[Fraction]:
    """Share `count` in proportion to the sizes, until no item has more than certainty."""
    exact = [Fraction(size) for size in sizes]
    certain: set[int] = set()
    while True:
        left = count - len(certain)
        rest = [item for item in range(len(exact)) if item not in certain]
        total = sum((exact[item] for item in rest), Fraction(0))
        share = {i: exact[i] * left / total if total else Fraction(left, len(rest)) for i in rest}
        above = [item for item in rest if total and share[item] >= 1]
        if not above:
            return [share.get(item, Fraction(1)) for item in range(len(exact))]
        certain |= set(above)
