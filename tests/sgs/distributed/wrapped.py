"""Models that are wrapped for several processes: the mean of the naive gradients, or a refusal.

Each process has items of its own. The reference is the mean over the processes of the gradients of
naive graphs without any wrapper.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed as dist, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from sgs import ArraySource, MemoryBudget, SequentialGradientSampler
from tests.reference import coupling_loss

SIZE = 4
EVEN, UNEVEN, EMPTY = (10, 10), (10, 3), (10, 0)


class Blocks(nn.Module):
    """An encoder with parts to shard, dropout in them and a layer that nothing reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Dropout(0.3)) for _ in range(3)
        )
        self.out = nn.Linear(8, 4)

    def forward(self, items: Tensor) -> Tensor:
        hidden = self.embed(items)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.out(hidden)


class Model(nn.Module):
    """An encoder, or what wraps it, and a head."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, items: Tensor) -> Tensor:
        return self.head(self.encoder(items))


def parts() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return Blocks().double(), nn.Linear(4, 3).double()


Options = dict[str, Any]
KEPT: Options = {"kept_graphs": 2}
BUDGET: Options = {"micro_batch_size": MemoryBudget("64MiB")}


class Stem(nn.Module):
    """Doubles the items without a graph."""

    def __init__(self) -> None:
        super().__init__()
        scale = torch.tensor([2.0], dtype=torch.float64)
        self.scale = nn.Parameter(scale, requires_grad=False)

    def forward(self, items: Tensor) -> Tensor:
        return items * self.scale


class Streamed(nn.Module):
    """A sampler that gets the halves of the items from a source, which its stem doubles."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, items: Tensor) -> Tensor:
        return self.encoder(ArraySource(items / 2))


def sampler(encoder: nn.Module, options: Options, *, streams: bool) -> nn.Module:
    options = {"micro_batch_size": SIZE, **options}
    if not streams:
        return SequentialGradientSampler(encoder, **options)
    return Streamed(SequentialGradientSampler(encoder, frozen_stem=Stem(), **options))


def ddp_of_model(
    given: Options | None = None, *, streams: bool = False, **options: bool
) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        encoder, head = parts()
        model = Model(sampler(encoder, given or {}, streams=streams), head)
        return DistributedDataParallel(model, **options)

    return build


def ddp_of_encoder(
    given: Options | None = None, *, streams: bool = False, **options: bool
) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        encoder, head = parts()
        wrapped = DistributedDataParallel(encoder, **options)
        return Model(sampler(wrapped, given or {}, streams=streams), DistributedDataParallel(head))

    return build


def sharded(
    *what: str, given: Options | None = None, streams: bool = False
) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        encoder, head = parts()
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        model = Model(sampler(encoder, given or {}, streams=streams), head)
        chosen = {
            "blocks": list(encoder.blocks),
            "encoder": [encoder],
            "sampler": [m for m in model.modules() if isinstance(m, SequentialGradientSampler)],
            "head": [head],
            "model": [model],
        }
        for name in what:
            for module in chosen[name]:
                fully_shard(module, mesh=mesh)
        return model

    return build


@dataclass(frozen=True)
class Case:
    """How the model is wrapped, how many items each process has, and which step is compared.

    Random numbers depend on the sizes, so nothing is dropped where these change between steps.
    """

    build: Callable[[], nn.Module]
    counts: tuple[int, int] = EVEN
    steps: int = 1


CASES = {
    "DDP of the model": Case(ddp_of_model()),
    "DDP of the model, static graph": Case(ddp_of_model(static_graph=True)),
    "DDP of the model, unused parameters": Case(ddp_of_model(find_unused_parameters=True)),
    "DDP of the model, uneven": Case(ddp_of_model(), UNEVEN),
    "DDP of the model, no items on one rank": Case(ddp_of_model(), EMPTY),
    "DDP of the encoder": Case(ddp_of_encoder()),
    "DDP of the encoder, static graph": Case(ddp_of_encoder(static_graph=True)),
    "DDP of the encoder, unused parameters": Case(ddp_of_encoder(find_unused_parameters=True)),
    "DDP of the encoder, uneven": Case(ddp_of_encoder(), UNEVEN),
    "DDP of the encoder, no items on one rank": Case(ddp_of_encoder(), EMPTY),
    "DDP of the model, kept graphs": Case(ddp_of_model(KEPT), UNEVEN),
    "DDP of the encoder, kept graphs": Case(ddp_of_encoder(KEPT), UNEVEN),
    "FSDP2 of the sampler and the model, kept graphs": Case(
        sharded("sampler", "model", given=KEPT), UNEVEN
    ),
    "FSDP2 of blocks, encoder and head, kept graphs": Case(
        sharded("blocks", "encoder", "head", given=KEPT), UNEVEN
    ),
    "FSDP2 of blocks, encoder and head, kept graphs, no items on one rank": Case(
        sharded("blocks", "encoder", "head", given=KEPT), EMPTY
    ),
    "DDP of the model, budget": Case(ddp_of_model(BUDGET), UNEVEN, steps=8),
    "DDP of the encoder, budget": Case(ddp_of_encoder(BUDGET), UNEVEN, steps=8),
    "FSDP2 of the sampler and the model, budget": Case(sharded("sampler", "model", given=BUDGET)),
    "DDP of the model, stem and source": Case(ddp_of_model(streams=True), UNEVEN),
    "DDP of the model, stem, source and kept graphs": Case(ddp_of_model(KEPT, streams=True)),
    "DDP of the encoder, stem and source": Case(ddp_of_encoder(streams=True), UNEVEN),
    "FSDP2 of the sampler and the model, stem and source": Case(
        sharded("sampler", "model", streams=True), UNEVEN
    ),
    "FSDP2 of blocks, encoder and head, stem and source": Case(
        sharded("blocks", "encoder", "head", streams=True), EMPTY
    ),
    "FSDP2 of the model": Case(sharded("model")),
    "FSDP2 of the sampler and the model": Case(sharded("sampler", "model")),
    "FSDP2 of the sampler and the model, uneven": Case(sharded("sampler", "model"), UNEVEN),
    "FSDP2 of the encoder and the head": Case(sharded("encoder", "head")),
    "FSDP2 of blocks, encoder and head": Case(sharded("blocks", "encoder", "head")),
    "FSDP2 of blocks, encoder and head, uneven": Case(sharded("blocks", "encoder", "head"), UNEVEN),
    "FSDP2 of blocks, encoder and head, no items on one rank": Case(
        sharded("blocks", "encoder", "head"), EMPTY
    ),
    "FSDP2 of blocks and the model": Case(sharded("blocks", "model")),
    "FSDP2 of the encoder and the model": Case(sharded("encoder", "model")),
}


def items_of(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(10 + dist.get_rank())
    return torch.randn(count, 6, dtype=torch.float64, generator=generator)


def naive(case: Case, items: Tensor) -> dict[str, Tensor]:
    model = Model(*parts()).train(case.steps == 1)
    torch.manual_seed(3 + dist.get_rank())
    groups = torch.arange(len(items)).split(SIZE)
    features = torch.cat([model.encoder(items[index]) for index in groups])
    coupling_loss(model.head(features)).backward()
    return mean_gradients(model)


def mean_gradients(model: nn.Module) -> dict[str, Tensor]:
    gradients = {}
    for name, parameter in model.named_parameters():
        dist.all_reduce(parameter.grad)
        gradients[name] = parameter.grad / dist.get_world_size()
    return gradients


def ours(case: Case, items: Tensor) -> dict[str, Tensor]:
    model = case.build().train(case.steps == 1)
    torch.manual_seed(3 + dist.get_rank())
    for _ in range(case.steps):
        model.zero_grad()
        coupling_loss(model(items)).backward()
    return whole_gradients(model)


def whole_gradients(model: nn.Module) -> dict[str, Tensor]:
    """Return the gradients by the names that the parameters have without a wrapper."""
    gradients = {}
    trained = [(name, p.grad) for name, p in model.named_parameters() if p.requires_grad]
    for name, gradient in trained:
        plain = re.sub(r"(encoder\.)+", "encoder.", name.replace("module.", ""))
        gradients[plain] = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
    return gradients


def outcome_of(name: str) -> str:
    case = CASES[name]
    items = items_of(case.counts[dist.get_rank()])
    expected = naive(case, items)
    try:
        got = ours(case, items)
    except (RuntimeError, TypeError) as error:
        return str(error)
    return difference(got, expected)


def difference(got: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    assert got.keys() == expected.keys()
    errors = [float((got[n] - g).abs().max() / g.abs().max()) for n, g in expected.items()]
    return "exact" if max(errors) <= 1e-12 else f"relative error {max(errors):.1e}"
