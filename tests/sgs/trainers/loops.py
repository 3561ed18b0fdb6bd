"""Trainers that drive a model over batches: Lightning, Accelerate, and the same by hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import lightning
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, distributed as dist, nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

from sgs import SequentialGradientSampler
from tests.reference import coupling_loss

SIZE = 4
LEARNING_RATE = 0.1
ACCUMULATED = 2
# The same roundings to bfloat16, and sums in float32: up to 1e-7 was seen.
HALF_RTOL = 1e-5
# A wrong gradient, or float32 in place of bfloat16, is off by 5e-3 at least.
WRONG = 1e-3
# Below the norm of every gradient in these tests: clipping is always at work.
MAX_NORM = 0.05

Weights = dict[str, Tensor]
Wrap = Callable[[nn.Module], nn.Module]


class InMicroBatches(nn.Module):
    """The naive twin of the sampler: the same calls of the encoder, in one graph."""

    def __init__(self, encoder: nn.Module, *, size: int = SIZE) -> None:
        super().__init__()
        self.encoder = encoder
        self.size = size

    def forward(self, items: Tensor) -> Tensor:
        return torch.cat([self._encode(part) for part in items.split(self.size)])

    def _encode(self, items: Tensor) -> Tensor:
        # Autocast would cast a weight once for all calls, and sum its gradients in low precision;
        # the sampler casts it in each call, and sums them in that of the weight.
        torch.clear_autocast_cache()
        return self.encoder(items)


class Model(lightning.LightningModule):
    """An encoder, wrapped, and a head; its loss couples all items.

    With a single dropout layer, the masks would not depend on the micro-batches.
    """

    def __init__(self, wrap: Wrap) -> None:
        super().__init__()
        torch.manual_seed(0)
        hidden = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.3))
        encoder = nn.Sequential(hidden, nn.Linear(8, 8), nn.Dropout(0.3), nn.Linear(8, 4))
        self.encoder = wrap(encoder)
        self.head = nn.Linear(4, 3)

    def forward(self, items: Tensor) -> Tensor:
        # As Accelerate does by itself: losses are not for low precision.
        return self.head(self.encoder(items)).to(items.dtype)

    def configure_model(self) -> None:
        if self.device_mesh is not None:
            for module in (self.encoder, self.head):
                fully_shard(module, mesh=self.device_mesh["data_parallel"])

    def training_step(self, items: Tensor, batch_index: int) -> Tensor:
        return coupling_loss(self(items))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=LEARNING_RATE)

    def weights(self) -> Weights:
        # Before optimizer steps change it in place.
        copies = {n: whole(p.detach()).clone() for n, p in self.named_parameters()}
        return {name.replace("encoder.encoder.", "encoder."): x for name, x in copies.items()}


def whole(tensor: Any) -> Tensor:
    """Gather a parameter that is sharded."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def sequential(encoder: nn.Module) -> nn.Module:
    return SequentialGradientSampler(encoder, micro_batch_size=SIZE)


def batches_of(rank: int, *, dtype: torch.dtype) -> list[Tensor]:
    """Return three steps' worth of batches, of different sizes on different ranks."""
    generator = torch.Generator().manual_seed(10 + rank)
    return [
        torch.randn(10 - 3 * rank, 6, dtype=dtype, generator=generator)
        for _ in range(3 * ACCUMULATED)
    ]


def loader(batches: list[Tensor]) -> DataLoader[Tensor]:
    return DataLoader(batches, batch_size=None)


def with_lightning(model: Model, batches: list[Tensor], *, precision: str, **options: Any) -> None:
    """Fit by Lightning's automatic optimisation."""
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        precision=precision,
        accumulate_grad_batches=ACCUMULATED,
        gradient_clip_val=MAX_NORM,
        # Each process has batches of its own.
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    torch.manual_seed(3 + trainer.global_rank)
    trainer.fit(model, loader(batches))


@contextmanager
def accelerator_of(mixed_precision: str) -> Iterator[Accelerator]:
    """Make an accelerator; there is one precision per process otherwise."""
    AcceleratorState._reset_state(reset_partial_state=False)
    yield Accelerator(
        cpu=True, mixed_precision=mixed_precision, gradient_accumulation_steps=ACCUMULATED
    )
    AcceleratorState._reset_state(reset_partial_state=False)


def with_accelerate(model: Model, batches: list[Tensor], *, mixed_precision: str) -> None:
    """Train by Accelerate's `accumulate`, `backward` and `clip_grad_norm_`."""
    with accelerator_of(mixed_precision) as accelerator:
        wrapped, optimizer = accelerator.prepare(model, model.configure_optimizers())
        torch.manual_seed(3 + accelerator.process_index)
        for items in loader(batches):
            with accelerator.accumulate(wrapped):
                accelerator.backward(coupling_loss(wrapped(items)))
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(wrapped.parameters(), MAX_NORM)
                optimizer.step()
                optimizer.zero_grad()


def by_hand(
    model: Model,
    batches: list[Tensor],
    *,
    call: nn.Module | None = None,
    autocast: torch.dtype | None = None,
    rank: int = 0,
) -> None:
    """Train by a plain loop, which averages the gradients over all processes before each step.

    Args:
        model: The model.
        batches: Its batches in this process.
        call: What wraps it and averages by itself; None for nothing.
        autocast: The lower precision; None for none.
        rank: Of this process.
    """
    optimizer = model.configure_optimizers()
    torch.manual_seed(3 + rank)
    # A loader draws a seed for its workers, even if it has none.
    for position, items in enumerate(loader(batches), start=1):
        with nullcontext() if autocast is None else torch.autocast("cpu", dtype=autocast):
            loss = coupling_loss((call or model)(items)) / ACCUMULATED
        loss.backward()
        if position % ACCUMULATED == 0:
            if call is None:
                average_gradients(model)
            nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
            optimizer.step()
            optimizer.zero_grad()


def average_gradients(model: nn.Module) -> None:
    """Do what DistributedDataParallel does, after the backward."""
    if dist.is_initialized():
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()


def update(wrap: Wrap, train: Callable[[Model], None], *, dtype: torch.dtype) -> Weights:
    """Train a new model and return by how much each weight has changed."""
    model = Model(wrap).to(dtype)
    before = model.weights()
    train(model)
    return {name: weight - before[name] for name, weight in model.weights().items()}


def largest_error(got: Weights, expected: Weights) -> float:
    """The largest difference of any weight's change, relative to its largest expected one."""
    assert got.keys() == expected.keys()
    return max(float((got[n] - x).abs().max() / x.abs().max()) for n, x in expected.items())
