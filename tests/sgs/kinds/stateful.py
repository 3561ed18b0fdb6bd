"""Encoders that change their own buffers or parameters in a training-mode forward pass."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantize

from tests.sgs.kinds.arguments import INPUT, SEQUENCES, VECTORS, normal, tokens
from tests.sgs.kinds.kind import Kind


class Counter(nn.Module):
    """The number of calls so far scales the output: the same change by every micro-batch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.register_buffer("num_calls", torch.zeros((), dtype=torch.int64))

    def forward(self, items: Tensor) -> Tensor:
        self.num_calls += 1
        return self.linear(items).tanh() / self.num_calls


class ReassignedCounter(Counter):
    """The buffer is replaced instead of being changed in place."""

    def forward(self, items: Tensor) -> Tensor:
        self.num_calls = self.num_calls + 1
        return self.linear(items).tanh() / self.num_calls


class MovingMean(nn.Module):
    """A moving average of the items is subtracted from them: its change depends on the items."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, items: Tensor) -> Tensor:
        with torch.no_grad():
            self.mean.lerp_(items.mean(dim=0), 0.1)
        return self.linear(items - self.mean).tanh()


class OwnBatchNorm(nn.Module):
    """Batch normalisation that is none of torch's layers: its kernel counts no version."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("variance", torch.ones(4))

    def forward(self, items: Tensor) -> Tensor:
        hidden = self.linear(items)
        return F.batch_norm(hidden, self.mean, self.variance, training=self.training)


class LateBuffer(nn.Module):
    """A cache that becomes a buffer in the first forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, items: Tensor) -> Tensor:
        if not hasattr(self, "positions"):
            positions = torch.linspace(0, 1, items.shape[1], dtype=items.dtype)
            self.register_buffer("positions", positions, persistent=False)
        return self.linear((items + self.positions[:, None]).tanh()).mean(dim=1)


class FilledBuffer(LateBuffer):
    """A cache that is a buffer of None until the first forward pass fills it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("positions", None, persistent=False)

    def forward(self, items: Tensor) -> Tensor:
        if self.positions is None:
            self.positions = torch.linspace(0, 1, items.shape[1], dtype=items.dtype)
        return super().forward(items)


class BoundedTable(nn.Module):
    """A table whose rows are renormalised in place whenever they are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4, max_norm=1.0)
        self.linear = nn.Linear(4, 3)

    def forward(self, items: Tensor) -> Tensor:
        return self.linear(self.table(items).mean(dim=1).tanh())


class ClampedWeight(nn.Module):
    """A parameter that is kept in its range by the forward pass itself, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.temperature = nn.Parameter(torch.tensor(5.0))

    def forward(self, items: Tensor) -> Tensor:
        self.temperature.data.clamp_(0.1, 2.0)
        return (self.linear(items) / self.temperature).tanh()


class DecayedWeight(nn.Module):
    """A parameter that each call shrinks behind autograd's back."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, items: Tensor) -> Tensor:
        self.linear.weight.data.mul_(0.9)
        return self.linear(items).tanh()


class HiddenCounter(Counter):
    """The counter is changed behind autograd's back, which counts no version of that."""

    def forward(self, items: Tensor) -> Tensor:
        self.num_calls.data.add_(1)
        return self.linear(items).tanh() / self.num_calls


class Codebook(nn.Module):
    """Codes that follow the items looked up, behind autograd's back, as vector quantisers do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.register_buffer("codes", torch.randn(3, 4))

    def forward(self, items: Tensor) -> Tensor:
        hidden = self.linear(items)
        chosen = F.one_hot(torch.cdist(hidden, self.codes).argmin(dim=1), 3).to(hidden)
        codes = chosen @ self.codes
        self.codes.data.lerp_(chosen.mT @ hidden.detach(), 0.1)
        return hidden * codes + (codes - hidden).detach()


def fake_quantised_by_range() -> nn.Module:
    """Values rounded to 8 bits of a range that is observed from call to call."""
    return nn.Sequential(nn.Linear(6, 5), FakeQuantize(), nn.Linear(5, 4))


def instance_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 4, 3), nn.InstanceNorm1d(4, track_running_stats=True), nn.Flatten()
    )


STATEFUL = {
    "own_batch_norm": Kind(OwnBatchNorm, VECTORS),
    "counter": Kind(Counter, VECTORS),
    "counter_reassigned": Kind(ReassignedCounter, VECTORS),
    "counter_hidden": Kind(HiddenCounter, VECTORS),
    "instance_norm_with_statistics": Kind(instance_norm, normal(3, 6, name="input")),
    "fake_quantised_by_range": Kind(fake_quantised_by_range, INPUT),
    "moving_mean": Kind(MovingMean, VECTORS),
    "late_buffer": Kind(LateBuffer, SEQUENCES),
    "filled_buffer": Kind(FilledBuffer, SEQUENCES),
    "embedding_max_norm": Kind(BoundedTable, tokens(5, count=20)),
    "decayed_weight": Kind(DecayedWeight, VECTORS),
    "codebook": Kind(Codebook, VECTORS),
    "clamped_weight": Kind(ClampedWeight, VECTORS),
}
