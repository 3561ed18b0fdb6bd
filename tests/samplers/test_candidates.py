"""`Candidates` is consistent once it is built, and says what is wrong when it is not."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from samplers import Candidates
from tests.samplers.other_device import ELSEWHERE, Elsewhere, OtherDevice
from tests.samplers.strategies import proposal_map


def test_device_is_the_cpu_without_tensors() -> None:
    assert Candidates(num_items=3).device == torch.device("cpu")


def test_device_follows_the_tensors() -> None:
    features = torch.zeros(3, 2, device="meta")
    assert Candidates(num_items=3, features=features).device == torch.device("meta")


def test_device_follows_a_map() -> None:
    with OtherDevice():
        candidates = Candidates(num_items=10, valid=Elsewhere(proposal_map(4)))
    assert candidates.device == ELSEWHERE


def test_map_has_one_item_per_valid_cell() -> None:
    assert Candidates(num_items=10, valid=proposal_map(4)).valid is not None


def test_fields_are_named() -> None:
    untyped: Any = Candidates
    with pytest.raises(TypeError, match="positional argument"):
        untyped(3)


def test_fields_stay_as_they_were_checked() -> None:
    candidates: Any = Candidates(num_items=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        candidates.num_items = 4


def test_candidates_equal_themselves_alone() -> None:
    # Whether all of their tensors are equal has no cheap answer.
    tiou = torch.zeros(3)
    candidates = Candidates(num_items=3, tiou=tiou)
    assert candidates not in {Candidates(num_items=3, tiou=tiou)}
    assert candidates in {candidates}


@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize("num_items", [0, 3.0])
def test_no_items_are_refused(num_items: int) -> None:
    with pytest.raises(
        ValueError, match=rf"num_items={num_items}\): expected an integer of at lea"
    ):
        Candidates(num_items=num_items)


@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize(
    ("field", "shape", "expected"),
    [
        ("features", (4, 2), r"expected shape \[3, channels\].*got \[4, 2\]"),
        ("features", (3, 0), r"expected shape \[3, channels\].*got \[3, 0\].*none of them empty"),
        ("features", (3,), r"expected shape \[3, channels\].*got \[3\]"),
        ("kernel", (3, 2), r"expected shape \[3, 3\].*got \[3, 2\]"),
        ("gradient_norm", (4,), r"expected shape \[3\].*got \[4\]"),
        ("kernel", (3, 4), r"expected shape \[3, 3\].*got \[3, 4\]"),
        ("kernel", (3,), r"expected shape \[3, 3\].*got \[3\]"),
        ("tiou", (2,), r"expected shape \[3\].*got \[2\]"),
        ("scale", (3, 1), r"expected shape \[3\].*got \[3, 1\]"),
    ],
)
def test_wrong_shape_is_refused(field: str, shape: tuple[int, ...], expected: str) -> None:
    with pytest.raises(ValueError, match=rf"Candidates\({field}=\.\.\.\): {expected}"):
        Candidates(num_items=3, **{field: torch.zeros(shape)})


@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize("field", ["features", "tiou", "scale"])
def test_integer_values_are_refused(field: str) -> None:
    values = torch.zeros((3, 2) if field == "features" else (3,), dtype=torch.int64)
    with pytest.raises(TypeError, match=rf"{field}=\.\.\.\): expected a floating point tensor"):
        Candidates(num_items=3, **{field: values})


@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize("field", ["features", "tiou", "scale", "kernel", "gradient_norm"])
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.zeros(3), "ndarray"),
        ([[0.0], [0.0], [0.0]], "list"),
        (torch.eye(3).to_sparse(), r"torch\.float32, torch\.sparse_coo"),
    ],
    ids=["numpy", "list", "sparse"],
)
def test_what_is_no_dense_tensor_is_refused(field: str, values: Any, kind: str) -> None:
    with pytest.raises(
        TypeError, match=rf"{field}=\.\.\.\): expected a dense tensor, got {kind}\."
    ):
        Candidates(num_items=3, **{field: values})


@pytest.mark.usefixtures("raw_errors")
@pytest.mark.parametrize(
    ("valid", "kind"), [(np.ones((2, 3), dtype=bool), "ndarray"), ([[True] * 3] * 2, "list")]
)
def test_map_that_is_no_tensor_is_refused(valid: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=rf"expected a bool tensor, got {kind}\. Pass torch\.as_te"):
        Candidates(num_items=6, valid=valid)


@pytest.mark.usefixtures("raw_errors")
def test_map_that_is_not_boolean_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expected a bool tensor, got torch\.float32"):
        Candidates(num_items=6, valid=torch.ones(2, 3))


@pytest.mark.usefixtures("raw_errors")
def test_map_of_one_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected shape \[durations, starts\], got \[6\]"):
        Candidates(num_items=6, valid=torch.ones(6, dtype=torch.bool))


def test_map_with_other_number_of_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 9 True cells, one per item, got 10"):
        Candidates(num_items=9, valid=proposal_map(4))


def test_tensors_on_different_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="one device, got features on cpu, tiou on meta"):
        Candidates(num_items=3, features=torch.zeros(3, 2), tiou=torch.zeros(3, device="meta"))


def test_tensors_off_the_given_device_are_refused() -> None:
    with pytest.raises(ValueError, match="one device, got tiou on cpu, device on meta"):
        Candidates(num_items=3, tiou=torch.zeros(3), device=torch.device("meta"))
