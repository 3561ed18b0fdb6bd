"""`plan`: the sizes that make the best use of a memory budget."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sgs.planning.estimate.estimate import estimate
from sgs.planning.estimate.optimizer import MakeOptimizer
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
    """Choose both micro-batch sizes and the number of kept graphs for a budget, by estimates.

    Micro-batches become large enough to keep a GPU busy, if they fit. Those of the first pass
    become larger while that needs no more memory. Then graphs are kept while they fit: each saves a
    forward pass of its items. The sizes of `sampler` are ignored; its other options count.

    Args:
        sampler: The sampler to train with.
        items: The argument of its call; see `estimate`.
        budget: The memory of the device, in bytes or as in "8GiB".
        margin: The fraction of it reserved for what an estimate does not count, in [0, 1).
        head: Passed on to `estimate`, like the following arguments.
        optimizer: Makes the optimizer.
        items_on_device: Whether tensors of items lie on the device.
        autocast: The precision of `torch.autocast`.

    Raises:
        ValueError: If not even micro-batches of one item fit, or `estimate` raises it.
        TypeError: If `estimate` raises it.
        RuntimeError: If `estimate` raises it.

    Example:
        >>> encoder = torch.nn.Sequential(torch.nn.Linear(1000, 1000), torch.nn.ReLU())
        >>> sampler = SequentialGradientSampler(encoder, micro_batch_size=1)
        >>> planned = plan(sampler, torch.empty(70, 1000, device="meta"), "20MiB")
        >>> planned.micro_batch_size, planned.kept_graphs, planned.estimate.fits("20MiB")
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
