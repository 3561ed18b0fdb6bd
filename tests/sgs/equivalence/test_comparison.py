"""The comparison of two outcomes, and the table that it prints."""

import pytest
import torch
from torch import Tensor

from sgs.equivalence.comparison import EquivalenceReport, Outcome, ReportRow, compare


def outcome(parameters: dict[str, Tensor | None], features: Tensor | None = None) -> Outcome:
    return Outcome(
        {"features": torch.ones(2).double() if features is None else features}, parameters, {}
    )


def compared(got: Outcome, expected: Outcome) -> dict[str, ReportRow]:
    report = compare(got, expected, reference="one call", dtypes=[torch.float64])
    return {row.name: row for row in report.rows}


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_error_is_relative_to_the_largest_expected_value() -> None:
    found = compared(outcome({"a": doubles(3, 4.5)}), outcome({"a": doubles(3, 4)}))
    assert found["a"] == ReportRow("a", "parameter", 0.125, "different")


def test_vanishing_gradients_are_compared_with_the_largest_of_all() -> None:
    got = outcome({"a": doubles(2), "noise": doubles(3e-16)})
    expected = outcome({"a": doubles(2), "noise": doubles(1e-16)})
    assert compared(got, expected)["noise"].relative_error == pytest.approx(1e-12)
    assert compared(got, outcome({"a": doubles(2), "noise": doubles(1)}))["noise"].status == (
        "different"
    )


def test_gradients_of_arguments_count_among_the_largest() -> None:
    got = Outcome({}, {"noise": doubles(3e-16)}, {"args[0]": doubles(2)})
    expected = Outcome({}, {"noise": doubles(1e-16)}, {"args[0]": doubles(2)})
    assert compared(got, expected)["noise"].relative_error == pytest.approx(1e-12)


def test_a_value_on_one_side_only_is_a_difference() -> None:
    one, other = outcome({"a": doubles(1), "b": None}), outcome({"a": None, "b": doubles(1)})
    found = compared(one, other)
    assert found["a"] == ReportRow("a", "parameter", torch.inf, "unexpected")
    assert found["b"] == ReportRow("b", "parameter", torch.inf, "missing")
    assert compared(outcome({}), outcome({"a": doubles(1)}))["a"].status == "missing"
    assert compared(outcome({"a": doubles(1)}), outcome({}))["a"].status == "unexpected"


def test_not_a_number_equals_itself_only() -> None:
    odd = doubles(torch.nan, torch.inf, 1)
    assert compared(outcome({"a": odd}), outcome({"a": odd}))["a"].relative_error == 0
    changed = doubles(0, torch.inf, 1)
    found = compared(outcome({"a": changed}), outcome({"a": odd}))
    assert found["a"] == ReportRow("a", "parameter", torch.inf, "different")
    changed = doubles(torch.nan, -torch.inf, 1)
    assert compared(outcome({"a": changed}), outcome({"a": odd}))["a"].status == "different"


def test_other_shapes_and_constants_are_infinitely_different() -> None:
    found = compared(outcome({}, torch.ones(3)), outcome({}, torch.ones(2)))
    assert found["features"] == ReportRow("features", "feature", torch.inf, "different")
    for mine, theirs in ((1, 2), (1, True), (1, doubles(1))):
        found = compared(Outcome({"n": mine}, {}, {}), Outcome({"n": theirs}, {}, {}))
        assert found["n"].status == "different"


def test_coarsest_precision_counts() -> None:
    for dtypes, features, tolerance in (
        ([torch.float64], doubles(1), 1e-10),
        ([torch.float64, torch.int8], doubles(1), 1e-10),
        ([torch.float64], torch.ones(1), 1e-3),
        ([torch.float32, torch.bfloat16], doubles(1), 0.1),
        ([], torch.ones(1, dtype=torch.int8), 1e-10),
    ):
        both = outcome({}, features)
        assert compare(both, both, reference="one call", dtypes=dtypes).tolerance == tolerance


def test_complex_parts_are_both_compared() -> None:
    got, expected = torch.tensor([1 + 2j]), torch.tensor([1 + 3j])
    assert compared(outcome({"a": got}), outcome({"a": expected}))["a"].status == "different"


def test_table_shows_the_verdict_and_the_worst_first() -> None:
    report = EquivalenceReport(
        (
            ReportRow("args[0]", "argument", 0.0, "none"),
            ReportRow("features", "feature", 0.0, "exact"),
            ReportRow("layer.weight", "parameter", 0.25, "different"),
            ReportRow("layer.bias", "parameter", torch.inf, "missing"),
        ),
        "one call",
        1e-10,
    )
    assert str(report).splitlines() == [
        "NOT exact: 2 of 4 rows differ from one call by more than 1e-10 "
        "(1 feature(s), 2 parameter(s), 1 argument(s))",
        "kind       name          relative error  status",
        "parameter  layer.bias               inf  missing",
        "parameter  layer.weight         2.5e-01  different",
        "feature    features             0.0e+00  exact",
        "argument   args[0]              0.0e+00  none",
    ]


def test_table_counts_the_rows_that_it_leaves_out() -> None:
    many = [ReportRow(f"p{i}", "parameter", i * 1e-14, "exact") for i in range(25)]
    lines = str(EquivalenceReport(tuple(many), "one call", 1e-10)).splitlines()
    assert lines[0].startswith("exact: 0 of 25 rows differ from one call by more than 1e-10")
    assert lines[2].split() == ["parameter", "p24", "2.4e-13", "exact"]
    assert len(lines) == 2 + 20 + 1
    assert lines[-1] == "and 5 more, at most 4.0e-14"


def test_rounding_in_float32_parts_is_named() -> None:
    row = ReportRow("weight", "parameter", 1e-7, "different")
    assert "compute in float32" in str(EquivalenceReport((row,), "one call", 1e-10))
    for error, tolerance in ((1e-4, 1e-10), (1e-12, 1e-10), (1e-7, 1e-3)):
        other = ReportRow("weight", "parameter", error, "different")
        assert "compute in float32" not in str(EquivalenceReport((other,), "one call", tolerance))
