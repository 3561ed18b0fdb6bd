"""Every kind of encoder with the sampler, wrapped for several processes."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, distributed as dist, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from sgs import SequentialGradientSampler
from tests.sgs.exactness.outcomes import ALL_KINDS, SELF_CHANGING
from tests.sgs.exactness.settings import (
    MICRO_BATCH_SIZE,
    NUM_ITEMS,
    Result,
    assert_equal,
    in_groups,
    result,
    seed,
    tensors,
)
from tests.sgs.kinds.kind import Arguments, Kind

RTOL = 1e-12
ALONE = "without the sampler, too: "
Wrap = Callable[[nn.Module], nn.Module]


def shard(module: nn.Module) -> nn.Module:
    return fully_shard(module, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))


# How an encoder and what is around it, a sampler or its naive twin, are wrapped.
WRAPS: dict[str, Callable[[nn.Module, Wrap], nn.Module]] = {
    "DDP": lambda encoder, around: DistributedDataParallel(around(encoder)),
    "DDP of the encoder": lambda encoder, around: around(DistributedDataParallel(encoder)),
    "FSDP2": lambda encoder, around: shard(around(encoder)),
}


class InGroups(nn.Module):
    """The naive twin of a sampler: one graph, the same micro-batches."""

    def __init__(self, encoder: nn.Module, size: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.size = size

    def forward(self, **items: Tensor) -> list[Tensor]:
        return in_groups(self.encoder, items, self.size)


def outcome_of(case: str) -> str:
    """Return "exact", how much differs, or the message of who refuses.

    The reference is the mean over the processes of the gradients of naive graphs; or what the
    wrapped encoder itself does, if that differs from it.
    """
    setting, name = case.split(": ")
    kind, wrap = ALL_KINDS[name], WRAPS[setting]
    size = NUM_ITEMS if name in SELF_CHANGING else MICRO_BATCH_SIZE
    sampler = partial(SequentialGradientSampler, micro_batch_size=MICRO_BATCH_SIZE)
    ours = trained(kind, lambda encoder: wrap(encoder, sampler))
    outcome = difference(ours, naive_mean(kind, size))
    if outcome == "exact":
        return outcome
    alone = trained(kind, lambda encoder: wrap(encoder, partial(InGroups, size=size)))
    return f"{ALONE}{alone}" if isinstance(alone, str) else difference(ours, alone)


def naive_mean(kind: Kind, size: int) -> Result:
    """Return the features, and the mean over the processes of the gradients of naive graphs."""
    encoder = kind.make()
    seed(dist.get_rank())
    features, gradients = result(encoder, in_groups(encoder, items_of(kind), size))
    means = with_zeros(encoder, gradients)
    for gradient in means.values():
        dist.all_reduce(gradient)
        gradient /= dist.get_world_size()
    return features, means


def trained(kind: Kind, wrap: Wrap) -> Result | str:
    """Train the wrapped encoder, or return the message of the error."""
    encoder = kind.make()
    try:
        model = wrap(encoder)
        seed(dist.get_rank())
        features, gradients = result(encoder, tensors(model(**items_of(kind))))
    except Exception as error:
        return str(error)
    whole = {n: g.full_tensor() if hasattr(g, "full_tensor") else g for n, g in gradients.items()}
    return features, with_zeros(encoder, whole)


def difference(got: Result | str, expected: Result) -> str:
    if isinstance(got, str):
        return got
    try:
        assert_equal(got, expected, rtol=RTOL)
    except AssertionError as error:
        return str(error)
    return "exact"


def items_of(kind: Kind) -> Arguments:
    """Return other items in every process."""
    first = dist.get_rank() * NUM_ITEMS
    items = kind.items(NUM_ITEMS * dist.get_world_size())
    return {name: x[first : first + NUM_ITEMS] for name, x in items.items()}


def with_zeros(encoder: nn.Module, gradients: dict) -> dict:
    """Put zeros where a parameter has no gradient, since all take part in the reduction."""
    shapes = {n: p.shape for n, p in encoder.named_parameters() if p.requires_grad}
    return {
        n: torch.zeros(shape, dtype=torch.float64) if gradients[n] is None else gradients[n].clone()
        for n, shape in shapes.items()
    }
