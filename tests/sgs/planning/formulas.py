"""A search whose steps take what a formula says."""

from collections.abc import Callable
from typing import Any

from torch import nn

from sgs import Estimate, SequentialGradientSampler
from sgs.planning.settings.search import Search

# Bytes by micro-batch size, that of the first pass, and kept graphs.
Formula = Callable[[int, int, int], int]


def nothing(size: int, forward_size: int, kept: int) -> int:
    return 0


def search_of(
    formula: Formula, *, limit: int, num_items: int = 256, flops: int = 0, **options: Any
) -> Search:
    def step(sampler: SequentialGradientSampler) -> Estimate:
        sizes = sampler.micro_batch_size, sampler.forward_micro_batch_size, sampler.kept_graphs
        return Estimate("sgs", num_items, {"activations": formula(*sizes)}, {"forward": flops})

    sampler = SequentialGradientSampler(nn.Linear(1, 1), micro_batch_size=1, **options)
    return Search(sampler, step, limit)
