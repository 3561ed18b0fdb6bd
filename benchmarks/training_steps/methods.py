"""The ways to train an encoder on more items than fit: what people write, and the sampler.

Each computes the gradients of one step, head and loss included, and leaves them in `.grad`. At
`ratio=1` all of them compute the same gradients, which a test proves.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint, get_device_states, set_device_states

from benchmarks.training_steps.problem import Problem
from sgs import SequentialGradientSampler


def naive(problem: Problem) -> None:
    """One graph of all items."""
    problem.loss_of(problem.encoder(problem.items)).backward()


def checkpointed(problem: Problem) -> None:
    """One graph, in which every micro-batch is recomputed by `torch.utils.checkpoint`."""
    encoder = problem.encoder
    features = [
        checkpoint(encoder, part, use_reentrant=False)
        for part in problem.items.split(problem.micro_batch_size)
    ]
    problem.loss_of(torch.cat(features)).backward()


def checkpointed_behind_stem(problem: Problem) -> None:
    """The same by someone who notes that the frozen stem need not be recomputed."""
    assert problem.stem is not None
    features = []
    for part in problem.items.split(problem.micro_batch_size):
        with torch.no_grad():
            maps = problem.stem(part)
        features.append(checkpoint(problem.trunk, maps, use_reentrant=False))
    problem.loss_of(torch.cat(features)).backward()


def grad_cache(problem: Problem) -> None:
    """The algorithm of GradCache: a cache of feature gradients, all items encoded twice."""
    encoder, parts = problem.encoder, problem.items.split(problem.micro_batch_size)
    states, features = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_RandomState(part))
            features.append(encoder(part))
    cached = torch.cat(features).requires_grad_()
    problem.loss_of(cached).backward()
    gradients = _gradient(cached).split(problem.micro_batch_size)
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


def hand_written(problem: Problem, index: Tensor | None = None) -> None:
    """The shortest loop for Alg. 1 of the paper: nothing replayed, nothing checked.

    Args:
        problem: What to train.
        index: The items to back-propagate through; all if None.
    """
    encoder, size = problem.encoder, problem.micro_batch_size
    with torch.no_grad():
        features = torch.cat([encoder(part) for part in problem.items.split(size)])
    features.requires_grad_()
    problem.loss_of(features).backward()
    sampled = torch.arange(len(features)) if index is None else index
    for part in sampled.split(size):
        encoder(problem.items[part]).backward(_gradient(features)[part])


def hand_written_sample(problem: Problem, *, ratio: float) -> None:
    """The same with a random subset of this ratio."""
    count = round(ratio * len(problem.items))
    hand_written(problem, torch.randperm(len(problem.items), device="cpu")[:count].sort().values)


def sampled(problem: Problem, sampler: SequentialGradientSampler) -> None:
    """The sampler, in an ordinary step."""
    problem.loss_of(sampler(problem.items)).backward()


def _gradient(features: Tensor) -> Tensor:
    assert features.grad is not None
    return features.grad
