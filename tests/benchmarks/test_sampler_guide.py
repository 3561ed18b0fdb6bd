"""docs/samplers.md names every strategy, and says what the rows say."""

import pytest

import samplers
from benchmarks import gradient_error
from benchmarks.measuring.rows import Row, all_rows
from benchmarks.report.sampler_guide import ADVICE, guide_table
from samplers import AbstractSampler

MODELS, RATIOS = ("untrained", "trained"), gradient_error.RATIOS
SETTINGS = [(model, ratio) for model in MODELS for ratio in RATIOS]


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, str, float, str], Row]:
    names = ("strategy", "model", "ratio", "weights")
    return {tuple(row[name] for name in names): row for row in all_rows()["gradient_error"]}


def error(rows: dict, strategy: str, model: str, ratio: float) -> list[float]:
    return rows[strategy, model, ratio, "inverse_probability"]["to_random"]


def cosine(rows: dict, strategy: str, model: str, ratio: float, weights: str) -> float:
    return rows[strategy, model, ratio, weights]["cosine"][1]


def test_every_strategy_has_its_line() -> None:
    public = vars(samplers).values()
    strategies = {
        strategy.__name__
        for strategy in public
        if isinstance(strategy, type) and issubclass(strategy, AbstractSampler)
    }
    assert strategies - {"AbstractSampler"} == set(ADVICE)


def test_line_holds_times_and_errors() -> None:
    error_rows = all_rows()["gradient_error"]
    lines = guide_table(all_rows()["sampler_time_cpu"], error_rows).splitlines()
    assert len(lines) == 2 + len(ADVICE)
    (random,) = [line for line in lines if "`Random()`" in line]
    assert random.count(" ms |") == 2
    assert random.count("1.00 (1.00 to 1.00)") == 2
    assert all(line.count("|") == lines[0].count("|") for line in lines)


@pytest.mark.parametrize(("model", "ratio"), SETTINGS)
def test_grid_is_as_good_as_random_or_better(rows: dict, model: str, ratio: float) -> None:
    low, value, _ = error(rows, "Grid", model, ratio)
    assert low < 1
    assert value < (1 if ratio >= 0.2 else 1.05)
    assert cosine(rows, "Grid", model, ratio, "none") == pytest.approx(
        cosine(rows, "Grid", model, ratio, "inverse_probability"), abs=1e-6
    )


@pytest.mark.parametrize(("model", "ratio"), SETTINGS)
def test_norms_have_the_least_error_and_a_block_the_largest(
    rows: dict, model: str, ratio: float
) -> None:
    values = {
        strategy: error(rows, strategy, model, ratio)[1]
        for strategy in ("Random", "Grid", "Block", "DPP", "GradientNorm", "Stratified")
    }
    assert min(values, key=values.__getitem__) == "GradientNorm"
    assert max(values, key=values.__getitem__) == "Block"
    assert 0.91 < values["DPP"] < 1.02
    assert values["DPP"] > 0.98 or model == "trained"


def test_figures_of_the_text(rows: dict) -> None:
    assert error(rows, "Grid", "trained", 0.5)[1] == pytest.approx(0.57, abs=0.04)
    assert error(rows, "GradientNorm", "trained", 0.3)[1] == pytest.approx(1 / 3, abs=0.04)
    strata = error(rows, "Stratified", "trained", 0.3)[1]
    assert (error(rows, "Grid", "trained", 0.3)[1] + 1) / 2 < strata < 1


@pytest.mark.parametrize(("model", "ratio"), SETTINGS)
def test_direction_of_farthest_points(rows: dict, model: str, ratio: float) -> None:
    farthest = cosine(rows, "FarthestPoint", model, ratio, "none")
    if model == "untrained":
        assert farthest == pytest.approx(cosine(rows, "Random", model, ratio, "none"), abs=0.03)
    elif ratio <= 0.3:
        assert farthest > cosine(rows, "Grid", model, ratio, "none") + 0.05


@pytest.mark.parametrize(("model", "ratio"), SETTINGS)
def test_pivotal_samples_are_no_better(rows: dict, model: str, ratio: float) -> None:
    systematic = error(rows, "GradientNorm", model, ratio)
    pivotal = error(rows, "PivotalNorm", model, ratio)[1]
    if ratio >= 0.2:
        assert pivotal > systematic[1]
    else:
        assert systematic[0] < pivotal < systematic[2]
