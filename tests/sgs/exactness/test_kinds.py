"""Every kind of encoder in every setting is exact, or refused with the reason."""

import warnings
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.sgs.exactness.cells import COMPILED, FEW_FAMILIES, IN_PROCESSES, cells
from tests.sgs.exactness.outcomes import (
    ANYWHERE,
    DISTRIBUTED,
    EXCEPTIONS,
    IN_ONE_PROCESS,
    Crashed,
    Exact,
    Outcome,
    Refused,
    Undefined,
    outcome_in,
)
from tests.sgs.exactness.settings import SETTINGS, Setting, assert_equal
from tests.sgs.families import FAMILIES
from tests.sgs.zoo.foreign import Foreign

# What torch and transformers say about these encoders without the sampler, too.
SAID_ANYWAY = (
    "ignore::FutureWarning:transformers",
    "ignore:None of the inputs have requires_grad=True:UserWarning",
    "ignore:Mismatch dtype between input and weight:UserWarning",
    "ignore:LSTM with projections is not supported with oneDNN:UserWarning",
    "ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning",
)
# The shape checker draws from Python's random, which some kinds do, too.
pytestmark = [
    pytest.mark.usefixtures("raw_errors"),
    *(pytest.mark.filterwarnings(said) for said in SAID_ANYWAY),
]


def test_tables_are_consistent() -> None:
    assert len(FAMILIES) >= 20
    assert ANYWHERE.keys() | {*COMPILED, *IN_PROCESSES, *FEW_FAMILIES} <= IN_ONE_PROCESS.keys()
    assert EXCEPTIONS.keys() <= {*SETTINGS, *DISTRIBUTED}
    assert all(kinds.keys() <= IN_ONE_PROCESS.keys() for kinds in EXCEPTIONS.values())


@pytest.mark.parametrize(("setting", "name"), cells(SETTINGS, IN_ONE_PROCESS))
def test_kind_is_exact_or_refused(setting: str, name: str) -> None:
    with warnings.catch_warnings():
        if setting == "compile":
            # Dynamo has warnings of its own about what it traces, and fails where they are errors.
            warnings.simplefilter("ignore")
        check(SETTINGS[setting], name, outcome_in(setting, name))


def check(setting: Setting, name: str, outcome: Outcome) -> None:
    kind = IN_ONE_PROCESS[name]
    if isinstance(kind, Foreign):
        kind.skip_where_missing()
    match outcome:
        case Exact(in_one_call=in_one_call, rtol=rtol, floor=floor):
            got = setting.ours(kind)
            tolerance = {"rtol": rtol or setting.rtol, "floor": floor}
            if setting.name == "compile":
                # Compilation is slow, and nearly always without effect on the values.
                with suppress(AssertionError):
                    as_eager = replace(setting, wrap=PLAIN.wrap)
                    assert_equal(got, as_eager.naive(kind, in_one_call=in_one_call), **tolerance)
                    return
            assert_equal(got, setting.naive(kind, in_one_call=in_one_call), **tolerance)
        case Refused(message=message, in_one_call=in_one_call):
            setting.naive(kind, in_one_call=in_one_call)
            with pytest.raises(RuntimeError, match=message):
                setting.ours(kind)
        case Crashed(message=message):
            setting.naive(kind, in_one_call=False)
            with pytest.raises((RuntimeError, AttributeError), match=message):
                setting.ours(kind)
        case Undefined(hangs=True, because=because):
            pytest.skip(because)
        case Undefined(message=None):
            with pytest.raises(AssertionError):
                assert_same_naive(setting, name)
        case Undefined(message=message):
            with pytest.raises(RuntimeError, match=message):
                setting.naive(kind, in_one_call=False)


def assert_same_naive(setting: Setting, name: str) -> None:
    plain, changed = (s.naive(IN_ONE_PROCESS[name], in_one_call=False) for s in (PLAIN, setting))
    assert_equal(changed, plain, rtol=setting.rtol)


PLAIN = SETTINGS["plain"]


def test_other_features_are_noticed() -> None:
    """The negative control."""
    kind = IN_ONE_PROCESS["linear"]
    features, gradients = PLAIN.ours(kind)
    with pytest.raises(AssertionError, match="features"):
        assert_equal(
            ([x * 1.001 for x in features], gradients),
            PLAIN.naive(kind, in_one_call=False),
            rtol=PLAIN.rtol,
        )


def test_other_gradients_are_noticed() -> None:
    """The negative control."""
    kind = IN_ONE_PROCESS["linear"]
    features, gradients = PLAIN.ours(kind)
    gradients["weight"][0, 0] *= 1 + 1e-9
    with pytest.raises(AssertionError, match="weight"):
        assert_equal((features, gradients), PLAIN.naive(kind, in_one_call=False), rtol=PLAIN.rtol)
