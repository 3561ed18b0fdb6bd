"""One process of the distributed tests; run by torchrun, prints one line of JSON per case.

Each process has items of its own. The reference is the mean over the processes of the gradients of
naive graphs without any wrapper.
"""

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed as dist, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from sgs import SequentialGradientSampler
from tests.reference import coupling_loss
from tests.sgs.distributed_kinds import WRAPS, outcome_of
from tests.sgs.outcomes import ALL_KINDS

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


def sampler(encoder: nn.Module) -> SequentialGradientSampler:
    return SequentialGradientSampler(encoder, micro_batch_size=SIZE)


def ddp_of_model(**options: bool) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        encoder, head = parts()
        return DistributedDataParallel(Model(sampler(encoder), head), **options)

    return build


def ddp_of_encoder(**options: bool) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        encoder, head = parts()
        wrapped = DistributedDataParallel(encoder, **options)
        return Model(sampler(wrapped), DistributedDataParallel(head))

    return build


def sharded(*what: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        encoder, head = parts()
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        model = Model(sampler(encoder), head)
        chosen = {
            "blocks": list(encoder.blocks),
            "encoder": [encoder],
            "sampler": [model.encoder],
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
    """How the model is wrapped, and how many items each process has."""

    build: Callable[[], nn.Module]
    counts: tuple[int, int] = EVEN


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


def naive(items: Tensor) -> dict[str, Tensor]:
    model = Model(*parts())
    torch.manual_seed(3 + dist.get_rank())
    groups = torch.arange(len(items)).split(SIZE)
    features = torch.cat([model.encoder(items[index]) for index in groups])
    coupling_loss(model.head(features)).backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        dist.all_reduce(parameter.grad)
        gradients[name] = parameter.grad / dist.get_world_size()
    return gradients


def ours(case: Case, items: Tensor) -> dict[str, Tensor]:
    model = case.build()
    torch.manual_seed(3 + dist.get_rank())
    coupling_loss(model(items)).backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        plain = name.replace("module.", "").replace("encoder.encoder.", "encoder.")
        gradient = parameter.grad
        gradients[plain] = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
    return gradients


def outcome(case: Case) -> str:
    items = items_of(case.counts[dist.get_rank()])
    expected = naive(items)
    try:
        got = ours(case, items)
    except RuntimeError as error:
        return str(error)
    assert got.keys() == expected.keys()
    errors = [float((got[n] - g).abs().max() / g.abs().max()) for n, g in expected.items()]
    return "exact" if max(errors) <= 1e-12 else f"relative error {max(errors):.1e}"


def tell(case: str, outcome: str) -> None:
    line = {"case": case, "rank": dist.get_rank(), "outcome": outcome}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    dist.barrier()


def main() -> None:
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    for name, case in CASES.items():
        tell(name, outcome(case))
    for setting in WRAPS:
        for name in ALL_KINDS:
            tell(f"{setting}: {name}", outcome_of(setting, name))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
