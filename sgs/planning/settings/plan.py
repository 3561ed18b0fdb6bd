"""`plan`: the settings that make the most of a budget of memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sgs.planning.estimate.estimate import estimate
from sgs.planning.estimate.training_step import MakeOptimizer
from sgs.planning.settings.result import Plan
from sgs.planning.settings.search import Search
from sgs.sampler import SequentialGradientSampler


def plan(
    sampler: SequentialGradientSampler,
    items: Any,
    budget: int | str,
    *,
    margin: float = 0.1,
    head: Callable[[Any], Tensor] | None = None,
    optimizer: MakeOptimizer | None = None,
    items_on_device: bool = True,
    autocast: torch.dtype | None = None,
) -> Plan:
    """Choose both micro-batch sizes and the number of kept graphs for a budget, without running.

    Micro-batches are made as large as keeps a GPU busy, where they fit; those of the first pass
    larger, where that is free; then graphs are kept as long as there is room, for each saves a
    forward pass of its items. The sizes of `sampler` do not matter, its other options do.

    Args:
        sampler: As of `estimate`.
        items: Likewise.
        budget: The memory of the device, in bytes or as in "8GiB".
        margin: The fraction of it that is left for what an estimate does not see, in [0, 1).
        head: As of `estimate`.
        optimizer: Likewise.
        items_on_device: Likewise.
        autocast: Likewise.

    Raises:
        TypeError: As `estimate`.
        ValueError: If not even micro-batches of one item fit, or as `estimate`.
        RuntimeError: As `estimate`.

    Example:
        >>> encoder = torch.nn.Sequential(torch.nn.Linear(1000, 1000), torch.nn.ReLU())
        >>> sampler = SequentialGradientSampler(encoder, micro_batch_size=1)
        >>> found = plan(sampler, torch.empty(100, 1000, device="meta"), "20MiB")
        >>> found.micro_batch_size, found.kept_graphs, found.estimate.fits("20MiB")
        (64, 2, True)
    """
    step = partial(
        estimate,
        items=items,
        head=head,
        optimizer=optimizer,
        items_on_device=items_on_device,
        autocast=autocast,
    )
    search = Search.within(budget, sampler, step, margin=margin)
    size = search.largest_size()
    return search.most_kept(size, search.largest_forward_size(size))
