from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from examples.etad.detectors.etad.config import PRESETS, DetectorConfig


def test_defaults_are_the_official_preset() -> None:
    assert DetectorConfig() == PRESETS["official"]


def test_the_paper_differs_from_the_release_exactly_where_it_says_so() -> None:
    paper, official = PRESETS["paper"], PRESETS["official"]
    differences = {
        name: (value, getattr(official, name))
        for name, value in vars(paper).items()
        if value != getattr(official, name)
    }
    assert differences == {
        "roi_bins": (32, 24),
        "boundary_bins": (8, 6),
        "roi_aligned": (True, False),
        "stage_conv": (False, True),
        "trunk": ("own", "shared"),
        "centre_width_divisor": (1.0, 2.0),
        "balance": ("weighted", "sampled"),
        "regress_zero_tiou": (False, True),
        "tiou_regression_weight": (1.0, 5.0),
        "proposal_boundary_weight": (1.0, 0.5),
    }


def test_config_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        DetectorConfig().roi_bins = 8  # type: ignore[misc]


@pytest.mark.parametrize("name", list(PRESETS))
def test_boundary_bins_cover_exactly_the_context(name: str) -> None:
    config = PRESETS[name]
    context = config.context_ratio / (1 + 2 * config.context_ratio)
    assert config.boundary_bins == config.roi_bins * context


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"balance": "focal"}, r"balance='focal'\): expected one of \('sampled', 'weighted'\)"),
        ({"trunk": "none"}, r"trunk='none'\): expected one of \('shared', 'own'\)"),
        ({"start_end_heads": "no"}, r"start_end_heads='no'\): expected one of"),
        ({"roi_bins": 0}, r"roi_bins=0\): expected at least 1, got 0"),
        ({"head_size": -1}, r"head_size=-1\): expected at least 1"),
        ({"context_ratio": 0.0}, r"context_ratio=0.0\): expected a positive number"),
        ({"centre_width_divisor": 0.0}, r"centre_width_divisor=0.0\): expected a positive"),
        ({"offset_weight": -1.0}, r"offset_weight=-1.0\): expected a weight of 0 or more"),
        ({"num_classes": -1}, r"num_classes=-1\): expected 0 \(class-agnostic\) or more"),
        ({"boundary_bins": 25}, r"boundary_bins=25\): expected at least 1 and at most roi_bins=24"),
        ({"boundary_bins": 0}, r"boundary_bins=0\): expected at least 1"),
        ({"hidden_channels": 48}, r"hidden_channels=48\): expected a multiple of conv_groups=4"),
        ({"lstm_channels": 6}, r"conv_groups=4\): expected a divisor of lstm_channels=6"),
        ({"tiou_thresholds": ()}, r"tiou_thresholds=\(\)\): expected one value in \[0, 1\) per"),
        ({"tiou_thresholds": (0.7, 1.0)}, r"tiou_thresholds=\(0.7, 1.0\)\): expected one value"),
        ({"tiou_positive_threshold": 1.0}, r"tiou_positive_threshold=1.0\): expected a tIoU in"),
        ({"class_tiou_threshold": -0.1}, r"class_tiou_threshold=-0.1\): expected a tIoU in"),
    ],
)
def test_a_value_out_of_its_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(DetectorConfig(), **changes)


def test_joint_heads_need_no_boundary_bins() -> None:
    assert DetectorConfig(start_end_heads="joint", boundary_bins=0).boundary_bins == 0
