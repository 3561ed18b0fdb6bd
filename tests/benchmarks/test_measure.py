import json
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from benchmarks.measuring.conditions import conditions
from benchmarks.measuring.measure import Measured, measure, quartiles, relative
from benchmarks.measuring.rows import read_rows, write_rows

CPU = torch.device("cpu")


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_ratio_of_a_step_that_takes_three_times_as_long() -> None:
    cases = {"long": lambda: busy(0.03), "short": lambda: busy(0.01)}
    found = measure(cases, device=CPU, rounds=3)
    first, median, third = relative(found["long"], found["short"])
    assert first <= median <= third
    assert median == pytest.approx(3, rel=0.2)


def test_cases_run_in_turn_in_changing_order_and_warm_up_rounds_do_not_count() -> None:
    order: list[str] = []
    cases = {name: lambda name=name: order.append(name) for name in "abcd"}
    found = measure(cases, device=CPU, rounds=9, warm_up=1)
    rounds = ["".join(order[i : i + 4]) for i in range(0, 40, 4)]
    assert all(sorted(round_) == list("abcd") for round_ in rounds)
    # No case always follows the same other one.
    assert len({pair for round_ in rounds for pair in pairwise(round_) if pair[1] == "d"}) == 3
    assert all(measured.row()["rounds"] == 9 for measured in found.values())


def test_a_case_without_memory_is_a_result_and_other_errors_are_not() -> None:
    def fail() -> None:
        raise torch.OutOfMemoryError

    found = measure({"large": fail, "small": lambda: None}, device=CPU, rounds=2)
    assert found["large"].row()["is_out_of_memory"]
    assert found["large"].row()["step_ms"] == []
    assert not found["small"].row()["is_out_of_memory"]
    with pytest.raises(ZeroDivisionError):
        measure({"wrong": lambda: 1 / 0}, device=CPU, rounds=1)


def test_relative_is_the_median_of_the_rounds_not_the_ratio_of_medians() -> None:
    case, reference = Measured(step_ms=[2.0, 30.0, 8.0]), Measured(step_ms=[1.0, 10.0, 2.0])
    assert relative(case, reference) == [2.5, 3.0, 3.5]


def test_quartiles_of_few_values() -> None:
    assert quartiles([]) == []
    assert quartiles([2.0]) == [2.0, 2.0, 2.0]
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == [2.0, 3.0, 4.0]


def test_conditions_are_complete() -> None:
    found = conditions(CPU)
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert "cores" in found["device"]
    assert isinstance(found["is_dirty"], bool)


def test_rows_are_kept_to_six_digits(tmp_path: Path) -> None:
    path = tmp_path / "results" / "rows.json"
    assert read_rows(path) == []
    write_rows(path, [{"a": 1 / 3, "b": [2 / 3], "c": {"d": 123456789, "e": "x"}}])
    assert read_rows(path) == [{"a": 0.333333, "b": [0.666667], "c": {"d": 123456789, "e": "x"}}]
    assert json.loads(path.read_text()) == read_rows(path)
