"""Every kind of encoder, wrapped for two processes, is exact, or refused with the reason."""

import re

import pytest

from tests.sgs.distributed.kinds import ALONE
from tests.sgs.distributed.processes import Processes
from tests.sgs.exactness.cells import cells
from tests.sgs.exactness.outcomes import (
    ALL_KINDS,
    DISTRIBUTED,
    Exact,
    Refused,
    Undefined,
    outcome_in,
)


@pytest.mark.parametrize(("setting", "name"), cells(DISTRIBUTED, ALL_KINDS))
def test_kind_is_exact_or_refused(setting: str, name: str, processes: Processes) -> None:
    for found in processes.outcomes("tests.sgs.distributed.kinds", f"{setting}: {name}"):
        match outcome_in(setting, name):
            case Exact():
                assert found == "exact"
            case Refused(message=message):
                assert re.match(f"(?!{ALONE}).*{message}", found), found
            case Undefined(message=message):
                assert re.match(f"{ALONE}.*{message}", found), found
