"""Ways to train an encoder on more items than fit: hand-written ones, and the sampler.

Each computes the gradients of one step, head and loss included, and leaves them in `.grad`. At
`ratio=1` all of them compute the same gradients, as a test proves.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint, get_device_states, set_device_states

from benchmarks.training_steps.workload import Workload
from sgs import SequentialGradientSampler


def naive(workload: Workload) -> None:
    """One graph of all items."""
    workload.loss_of(workload.encoder(workload.items)).backward()


def checkpointed(workload: Workload) -> None:
    """One graph, in which every micro-batch is recomputed by `torch.utils.checkpoint`."""
    encoder = workload.encoder
    features = [
        checkpoint(encoder, part, use_reentrant=False)
        for part in workload.items.split(workload.micro_batch_size)
    ]
    workload.loss_of(torch.cat(features)).backward()


def checkpointed_behind_stem(workload: Workload) -> None:
    """The same, without recomputing the frozen stem."""
    assert workload.stem is not None
    features = []
    for part in workload.items.split(workload.micro_batch_size):
        with torch.no_grad():
            maps = workload.stem(part)
        features.append(checkpoint(workload.trunk, maps, use_reentrant=False))
    workload.loss_of(torch.cat(features)).backward()


def grad_cache(workload: Workload) -> None:
    """The algorithm of GradCache: a cache of feature gradients, all items encoded twice."""
    encoder, parts = workload.encoder, workload.items.split(workload.micro_batch_size)
    states, features = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_RandomState(part))
            features.append(encoder(part))
    cached = torch.cat(features).requires_grad_()
    workload.loss_of(cached).backward()
    gradients = _gradient(cached).split(workload.micro_batch_size)
    for part, state, gradient in zip(parts, states, gradients, strict=True):
        with state.restored():
            again = encoder(part)
        torch.dot(again.flatten(), gradient.flatten()).backward()


class _RandomState:
    """The state of the default generators before a micro-batch."""

    def __init__(self, *tensors: Tensor) -> None:
        self._cpu = torch.get_rng_state()
        self._devices, self._states = get_device_states(*tensors)

    @contextmanager
    def restored(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=self._devices):
            torch.set_rng_state(self._cpu)
            set_device_states(self._devices, self._states)
            yield


def hand_written(workload: Workload, index: Tensor | None = None) -> None:
    """The shortest loop for Alg. 1 of the paper: nothing replayed, nothing checked.

    Args:
        workload: What to train.
        index: The items to back-propagate through; all if None.
    """
    encoder, size = workload.encoder, workload.micro_batch_size
    with torch.no_grad():
        features = torch.cat([encoder(part) for part in workload.items.split(size)])
    features.requires_grad_()
    workload.loss_of(features).backward()
    sampled = torch.arange(len(features)) if index is None else index
    for part in sampled.split(size):
        encoder(workload.items[part]).backward(_gradient(features)[part])


def hand_written_sample(workload: Workload, *, ratio: float) -> None:
    """The same with a random subset of this ratio."""
    count = round(ratio * len(workload.items))
    hand_written(workload, torch.randperm(len(workload.items), device="cpu")[:count].sort().values)


def sampled(workload: Workload, sampler: SequentialGradientSampler) -> None:
    """The sampler, in an ordinary step."""
    workload.loss_of(sampler(workload.items)).backward()


def _gradient(features: Tensor) -> Tensor:
    assert features.grad is not None
    return features.grad
