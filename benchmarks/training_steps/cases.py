"""The cases of `sgs_time.py`: each way of training, at each ratio."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.measuring.measure import Step
from benchmarks.training_steps import methods
from benchmarks.training_steps.workload import Size, Workload
from sgs import SequentialGradientSampler, estimate

RATIOS = (1.0, 0.3, 0.1)
# References for every ratio. The hand-written loop is a reference for its own ratio only.
FULL: dict[str, Callable[[Workload], None]] = {
    "naive": methods.naive,
    "checkpoint": methods.checkpointed,
    "checkpoint behind stem": methods.checkpointed_behind_stem,
    "GradCache": methods.grad_cache,
}
HAND_WRITTEN = "hand-written Alg. 1"
# Names of methods in `sgs.estimate`.
_PREDICTED = {"naive": "naive", "checkpoint": "checkpointed"}


@dataclass(frozen=True)
class Case:
    """One way of training, at one ratio.

    Attributes:
        method: Its name.
        ratio: Part of the items that are back-propagated through.
        gradients: Computes the gradients of a step.
        predicted_bytes: Returns the peak of a dry run of the step; None where there is none.
    """

    method: str
    ratio: float
    gradients: Step
    predicted_bytes: Callable[[], int | None] = lambda: None

    @property
    def key(self) -> str:
        """Its name and ratio."""
        return f"{self.method} {self.ratio}"


def cases_of(workload: Workload, size: Size) -> Iterator[Case]:
    """Yield all cases, the references first."""
    plain = SequentialGradientSampler(workload.encoder, micro_batch_size=size.micro_batch_size)
    for name, method in FULL.items():
        gradients = partial(method, workload)
        if name in _PREDICTED:
            predicted = partial(_predicted_bytes, workload, plain, method=_PREDICTED[name])
            yield Case(name, 1.0, gradients, predicted)
        else:
            yield Case(name, 1.0, gradients)
    for ratio in RATIOS:
        yield Case(HAND_WRITTEN, ratio, partial(methods.hand_written_sample, workload, ratio=ratio))
        for name, sampler in samplers_of(workload, size, ratio=ratio).items():
            gradients = partial(methods.sampled, workload, sampler)
            yield Case(name, ratio, gradients, partial(_predicted_bytes, workload, sampler))


def samplers_of(
    workload: Workload, size: Size, *, ratio: float
) -> dict[str, SequentialGradientSampler]:
    """Return the sampler with more and more of its options."""
    plain = partial(SequentialGradientSampler, micro_batch_size=size.micro_batch_size, ratio=ratio)
    behind_stem = partial(plain, workload.trunk, frozen_stem=workload.stem)
    samplers = {
        "SGS": plain(workload.encoder),
        "SGS, frozen stem": behind_stem(),
        "SGS, frozen stem, one kept graph": behind_stem(kept_graphs=1),
    }
    if ratio == 1:
        larger = size.forward_micro_batch_size
        samplers["SGS, one kept graph"] = plain(workload.encoder, kept_graphs=1)
        samplers["SGS, larger first pass"] = plain(
            workload.encoder, forward_micro_batch_size=larger
        )
        return samplers
    all_kept = behind_stem(kept_graphs=size.num_items)
    return {**samplers, "SGS, frozen stem, all graphs kept": all_kept}


def _predicted_bytes(
    workload: Workload, sampler: SequentialGradientSampler, *, method: str = "sgs"
) -> int:
    found = estimate(
        sampler,
        workload.items,
        method=method,
        head=workload.loss_of,
        optimizer=torch.optim.AdamW,
    )
    return found.peak_bytes
