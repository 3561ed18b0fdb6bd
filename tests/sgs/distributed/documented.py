"""The programs of docs/trainers.md, without the start and the end of their group of processes."""

import re
from unittest.mock import patch

import torch
from accelerate.state import AcceleratorState
from torch import distributed as dist

from tests.sgs.distributed.processes import ROOT

PROGRAMS = {
    block.splitlines()[0].split()[-1]: block
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs/trainers.md").read_text(), re.S)
}


def outcome_of(name: str) -> str:
    with patch.object(dist, "init_process_group"), patch.object(dist, "destroy_process_group"):
        exec(compile(PROGRAMS[name], name, "exec"), {"__name__": "__main__"})
    # What programs leave behind in their process.
    torch.set_default_device(None)
    AcceleratorState._reset_state(reset_partial_state=False)
    return "ran"
