"""Subsets that are drawn in several processes.

Each process has items of its own and draws its own subset of them. The reference chooses and weighs
by hand the gradients of the features in a naive graph without any wrapper; the parameters receive
the mean over the processes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, distributed as dist, nn

from samplers import (
    AbstractSampler,
    Candidates,
    FarthestPoint,
    GradientNorm,
    Random,
    count_from_ratio,
)
from sgs import SequentialGradientSampler
from tests.reference import coupling_loss
from tests.sgs.distributed.wrapped import (
    EMPTY,
    EVEN,
    SIZE,
    UNEVEN,
    Model,
    Options,
    ddp_of_encoder,
    ddp_of_model,
    difference,
    items_of,
    mean_gradients,
    parts,
    sharded,
    whole_gradients,
)

Build = Callable[..., Callable[[], nn.Module]]


@dataclass(frozen=True)
class Sampled:
    """How the model is wrapped, how many items each process has, and how they are sampled.

    `wrong` is what the reference does otherwise: then it must be noticed.
    """

    build: Build
    counts: tuple[int, int] = EVEN
    sampler: AbstractSampler = field(default_factory=GradientNorm)
    ratio: float = 0.5
    weights: str = "inverse_probability"
    wrong: str | None = None

    @property
    def drops(self) -> bool:
        """Whether dropout is on: what is drawn first has micro-batches of its own."""
        return bool(self.sampler.requires)

    def options(self) -> Options:
        return {
            "sampler": self.sampler,
            "ratio": self.ratio,
            "weights": self.weights,
            "generator": torch.Generator().manual_seed(5 + dist.get_rank()),
        }


OUTER = partial(sharded, "sampler", "model")
PARTS = partial(sharded, "blocks", "encoder", "head")
UNUSED = partial(ddp_of_model, find_unused_parameters=True)
STATIC = partial(ddp_of_encoder, static_graph=True)
ALL_OF_THEM = {"ratio": 1.0}
UNWEIGHTED = {"weights": "none"}
POINTS = {"sampler": FarthestPoint(), **UNWEIGHTED}

CASES = {
    "DDP of the model": Sampled(ddp_of_model),
    "DDP of the model, uneven": Sampled(ddp_of_model, UNEVEN),
    "DDP of the model, no items on one rank": Sampled(ddp_of_model, EMPTY),
    "DDP of the model, unused parameters": Sampled(UNUSED, UNEVEN),
    "DDP of the model, without weights": Sampled(ddp_of_model, **UNWEIGHTED),
    "DDP of the model, all items": Sampled(ddp_of_model, UNEVEN, **ALL_OF_THEM),
    "DDP of the encoder": Sampled(ddp_of_encoder),
    "DDP of the encoder, uneven": Sampled(ddp_of_encoder, UNEVEN),
    "DDP of the encoder, no items on one rank": Sampled(ddp_of_encoder, EMPTY),
    "DDP of the encoder, static graph": Sampled(STATIC),
    "FSDP2 of the sampler and the model": Sampled(OUTER),
    "FSDP2 of the sampler and the model, uneven": Sampled(OUTER, UNEVEN),
    "FSDP2 of the sampler and the model, no items on one rank": Sampled(OUTER, EMPTY),
    "FSDP2 of the sampler and the model, all items": Sampled(OUTER, UNEVEN, **ALL_OF_THEM),
    "FSDP2 of blocks, encoder and head": Sampled(PARTS),
    "FSDP2 of blocks, encoder and head, uneven": Sampled(PARTS, UNEVEN),
    "FSDP2 of blocks, encoder and head, no items on one rank": Sampled(PARTS, EMPTY),
    "FSDP2 of blocks, encoder and head, without weights": Sampled(PARTS, UNEVEN, **UNWEIGHTED),
    "DDP of the model, farthest points": Sampled(ddp_of_model, UNEVEN, **POINTS),
    "FSDP2 of blocks, encoder and head, farthest points": Sampled(PARTS, UNEVEN, **POINTS),
    "DDP of the model, random": Sampled(ddp_of_model, UNEVEN, Random()),
    "FSDP2 of blocks, encoder and head, random": Sampled(PARTS, UNEVEN, Random()),
    "other items": Sampled(ddp_of_model, wrong="items"),
    "other weights": Sampled(PARTS, wrong="weights"),
    "all items": Sampled(OUTER, wrong="all"),
}


def chosen(case: Sampled, features: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the items that are drawn, and what each item's gradient is multiplied by."""
    num_items = len(features)
    weight = torch.zeros(num_items, dtype=torch.float64)
    count = count_from_ratio(case.ratio, num_items) if num_items else 0
    if count == num_items or case.wrong == "all":
        return torch.arange(num_items), torch.ones_like(weight)
    norms = gradient.square().sum(dim=1).sqrt()
    candidates = Candidates(num_items=num_items, features=features, gradient_norm=norms)
    index = case.sampler.sample(candidates, count, generator=case.options()["generator"])
    if case.wrong == "items":
        index = (index + 1) % num_items
    weight[index] = 1
    if (case.weights == "inverse_probability") != (case.wrong == "weights"):
        weight[index] /= case.sampler.inclusion_probability(candidates, count)[index]
    return index, weight


def naive(case: Sampled, items: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    model = Model(*parts()).train(case.drops)
    torch.manual_seed(3 + dist.get_rank())
    groups = torch.arange(len(items)).split(SIZE)
    features = torch.cat([model.encoder(items[index]) for index in groups])
    leaf = features.detach().requires_grad_()
    coupling_loss(model.head(leaf)).backward()
    index, weight = chosen(case, leaf.detach(), leaf.grad)
    features.backward(leaf.grad * weight[:, None])
    return index, mean_gradients(model)


def ours(case: Sampled, items: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    model = case.build(given=case.options())().train(case.drops)
    torch.manual_seed(3 + dist.get_rank())
    coupling_loss(model(items)).backward()
    (sampler,) = [m for m in model.modules() if isinstance(m, SequentialGradientSampler)]
    return sampler.last_index, whole_gradients(model)


def outcome_of(name: str) -> str:
    case = CASES[name]
    items = items_of(case.counts[dist.get_rank()])
    index, expected = naive(case, items)
    found, got = ours(case, items)
    if not torch.equal(found, index):
        return f"drew {found.tolist()}, expected {index.tolist()}"
    return difference(got, expected)
