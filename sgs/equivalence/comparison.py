"""Comparison of features and gradients computed in two ways, tensor by tensor."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sgs.replay.sameness import absolute_difference

# Keyed by bytes per number: the largest relative error that counts as exact; and a floor, relative
# to the largest gradient, below which gradients are only rounding, e.g. of a key bias below
# softmax. Over 150 encoders on a CPU, rounding stayed below 6e-13, 4e-5 and 6e-2.
TOLERANCE = {8: (1e-10, 1e-4), 4: (1e-3, 1e-3), 2: (0.1, 1e-2), 1: (0.1, 1e-2)}
# Rounding by parts of a float64 encoder that compute in float32; 1e-7 was seen.
COARSER_ROUNDING = 1e-5
NUM_SHOWN = 20
KINDS = ("feature", "parameter", "argument")


@dataclass(frozen=True)
class Outcome:
    """The features of a call and the gradients of its backward, by name.

    Attributes:
        features: One per leaf of the encoder's output.
        parameters: The gradient of each trained parameter; None where it has none.
        arguments: The same for each tensor of the call that requires a gradient.
    """

    features: Mapping[str, Any]
    parameters: Mapping[str, Tensor | None]
    arguments: Mapping[str, Tensor | None]


@dataclass(frozen=True)
class ReportRow:
    """The error of one feature, or of the gradient of one parameter or argument.

    Attributes:
        name: E.g. "features['low']", "layers.0.weight", "args[0]".
        kind: "feature", "parameter" or "argument".
        relative_error: The largest absolute difference, relative to the largest absolute value of
            this tensor in the reference; for gradients, relative to a fraction of the largest
            gradient of all if that is larger. Infinite if only one side has a value, or the shapes
            differ.
        status: "exact" within the tolerance, else "different"; "missing" if only the reference has
            a value, "unexpected" if only the sampler has one, "none" if neither has.
    """

    name: str
    kind: str
    relative_error: float
    status: str


@dataclass(frozen=True)
class EquivalenceReport:
    """The differences between sequentialized gradient sampling and the naive graph.

    `print(report)` shows a verdict and the worst rows; `rows` has all of them.

    Attributes:
        rows: One per feature, trained parameter and argument that requires a gradient.
        reference: "one call", or "the same micro-batches" for an encoder that draws random numbers.
        tolerance: The largest relative error that counts as exact in the coarsest precision used.
    """

    rows: tuple[ReportRow, ...]
    reference: str
    tolerance: float

    @property
    def is_exact(self) -> bool:
        """Whether no row differs."""
        return not self._differing

    @property
    def _differing(self) -> list[ReportRow]:
        return [row for row in self.rows if row.status not in ("exact", "none")]

    def __str__(self) -> str:
        return "\n".join([self._verdict(), *self._caveats(), *self._table()])

    def _verdict(self) -> str:
        counts = ", ".join(f"{sum(r.kind == k for r in self.rows)} {k}(s)" for k in KINDS)
        found = f"{len(self._differing)} of {len(self.rows)} rows differ"
        verdict = "exact: " if self.is_exact else "NOT exact: "
        compared = f"from {self.reference} by more than {self.tolerance:.0e}"
        return f"{verdict}{found} {compared} ({counts})"

    def _caveats(self) -> Iterator[str]:
        if self.reference != "one call":
            yield (
                "The encoder draws random numbers, so the reference ran the same micro-batches and "
                "cannot show whether items interact. Run the report again after encoder.eval()."
            )
        worst = max((row.relative_error for row in self.rows), default=0.0)
        if self.tolerance < worst < COARSER_ROUNDING:
            yield (
                f"No difference is above {COARSER_ROUNDING:.0e}. It may be rounding only, by parts "
                "of the encoder that compute in float32, e.g. normalisation layers."
            )

    def _table(self) -> Iterator[str]:
        worst = sorted(self.rows, key=_severity, reverse=True)
        shown, rest = worst[:NUM_SHOWN], worst[NUM_SHOWN:]
        width = max((len(row.name) for row in shown), default=4)
        yield f"{'kind':<9}  {'name':<{width}}  relative error  status"
        for row in shown:
            yield f"{row.kind:<9}  {row.name:<{width}}  {row.relative_error:>14.1e}  {row.status}"
        if rest:
            largest = max(row.relative_error for row in rest)
            yield f"and {len(rest)} more, at most {largest:.1e}"


def _severity(row: ReportRow) -> tuple[float, bool]:
    return row.relative_error, row.status != "none"


def compare(
    got: Outcome, expected: Outcome, *, reference: str, dtypes: Collection[torch.dtype]
) -> EquivalenceReport:
    """Compare all features and gradients.

    Args:
        got: The outcome of the sampler.
        expected: The outcome of the reference.
        reference: "one call" or "the same micro-batches".
        dtypes: The precisions that the encoder computes in, besides those of the features.
    """
    features = [x for x in expected.features.values() if isinstance(x, Tensor)]
    tolerance, vanishing = _limits({*dtypes, *(x.dtype for x in features)})
    gradients = [*expected.parameters.values(), *expected.arguments.values()]
    floor = vanishing * max((_largest(_wide(x)) for x in gradients if x is not None), default=0.0)
    pairs = (
        ("feature", got.features, expected.features, 0.0),
        ("parameter", got.parameters, expected.parameters, floor),
        ("argument", got.arguments, expected.arguments, floor),
    )
    rows = [
        _row(name, kind, mine.get(name), theirs.get(name), limits=(tolerance, scale))
        for kind, mine, theirs, scale in pairs
        for name in {**theirs, **mine}
    ]
    return EquivalenceReport(tuple(rows), reference, tolerance)


def _limits(dtypes: Collection[torch.dtype]) -> tuple[float, float]:
    widths = [d.to_real().itemsize for d in dtypes if d.is_floating_point or d.is_complex]
    return TOLERANCE[min(widths, default=8)]


def _row(
    name: str, kind: str, got: Any, expected: Any, *, limits: tuple[float, float]
) -> ReportRow:
    if got is None and expected is None:
        return ReportRow(name, kind, 0.0, "none")
    if got is None or expected is None:
        return ReportRow(name, kind, torch.inf, "missing" if got is None else "unexpected")
    tolerance, floor = limits
    error = _relative_error(got, expected, floor)
    return ReportRow(name, kind, error, "exact" if error <= tolerance else "different")


def _relative_error(got: Any, expected: Any, floor: float) -> float:
    if not isinstance(got, Tensor) or not isinstance(expected, Tensor):
        return 0.0 if type(got) is type(expected) and got == expected else torch.inf
    if got.shape != expected.shape:
        return torch.inf
    a, b = _wide(got), _wide(expected)
    difference = absolute_difference(a, b)
    scale = max(_largest(b), floor, torch.finfo(torch.float32).tiny)
    return float(difference.max()) / scale if difference.numel() else 0.0


def _wide(tensor: Tensor) -> Tensor:
    dense = tensor.detach().cpu().to_dense()
    return dense.to(torch.complex128 if dense.is_complex() else torch.float64)


def _largest(tensor: Tensor) -> float:
    finite = torch.where(tensor.isfinite(), tensor.abs(), 0)
    return float(finite.max()) if finite.numel() else 0.0
