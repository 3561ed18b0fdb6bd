"""`Report`: what `python -m sgs` prints."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from sgs.planning.byte_size import readable_bytes
from sgs.planning.command_line.training_step import SMALLEST, TrainingStep
from sgs.planning.estimate.result import Estimate
from sgs.planning.estimate.step_counter import CATEGORIES, GRADIENTS, OPTIMIZER, PARAMETERS
from sgs.planning.settings.result import Plan

TITLES = {"naive": "naive", "checkpointed": "checkpointed", "sgs": "SGS"}
WIDTH = 100
NOTES = """\
naive: one call of the encoder on all items. checkpointed: one graph of micro-batches, of the same
size as for SGS, each in torch.utils.checkpoint. Both train all items. Memory is listed at the peak
of the sum. A method fits if it leaves 10 % of the budget. Not counted are your head and loss (the
mean square of the features is used instead), the CUDA context, workspaces of cuDNN and cuBLAS,
fragmentation, host memory, and GPU kernels that differ from those of the CPU. A multiply-add is two
operations."""
TIME_NOTE = """\
Seconds are operations divided by the speed that you gave, which is taken to be the same for each
method. Decoding, copies and the optimizer take additional time."""


@dataclass(frozen=True)
class Report:
    """Whether a training step fits, with which sizes, and what each method takes.

    Attributes:
        step: The training step.
        plan: The sizes; None if not even micro-batches of one item fit.
        estimates: By method, in the order of `TITLES`.
        tflops: The speed of the device in 10^12 operations per second, if given.
    """

    step: TrainingStep
    plan: Plan | None
    estimates: dict[str, Estimate]
    tflops: float | None

    def __str__(self) -> str:
        """Return a verdict, the call to write, a table and notes."""
        verdict = textwrap.fill(self._verdict(), WIDTH, break_on_hyphens=False)
        call = [] if self.plan is None else [self._sampler_call(self.plan)]
        notes = NOTES if self.tflops is None else f"{NOTES}\n{TIME_NOTE}"
        return "\n\n".join([verdict, *call, self._table(), notes])

    def _verdict(self) -> str:
        peaks = {name: readable_bytes(x.peak_bytes) for name, x in self.estimates.items()}
        budget, step = readable_bytes(self.step.budget), f"a training step on {self.step}"
        if self.plan is None:
            return (
                f"No: {step} takes {peaks['sgs']} with SGS even in micro-batches of one item. The "
                f"budget is {budget}, less a margin of 10 %. {_advice(self.estimates['sgs'])}"
            )
        if self.estimates["naive"].fits(self.step.budget):
            return (
                f"Yes, and it needs no SGS: {step} takes {peaks['naive']} of {budget} in one call "
                "of the encoder."
            )
        return (
            f"Yes: {step} takes {peaks['sgs']} of {budget} with SGS. It would take "
            f"{peaks['naive']} in one call of the encoder, and {peaks['checkpointed']} with "
            "checkpointed micro-batches."
        )

    def _sampler_call(self, plan: Plan) -> str:
        options = self.step.options(plan)
        if self.step.frozen_stem is not None:
            is_on_host = self.step.stem_cache_on_host
            on_host = 'FrozenStem(frozen_stem, cache_device="cpu")'
            options["frozen_stem"] = on_host if is_on_host else "frozen_stem"
        arguments = ", ".join(("encoder", *(f"{name}={value}" for name, value in options.items())))
        indent = " " * 4
        line = f"{indent}sampler = SequentialGradientSampler({arguments})"
        if len(line) <= WIDTH:
            return line
        inner = textwrap.indent(textwrap.fill(arguments, WIDTH - 8), 2 * indent)
        return f"{indent}sampler = SequentialGradientSampler(\n{inner}\n{indent})"

    def _table(self) -> str:
        estimates = list(self.estimates.values())
        naive = self.estimates["naive"].total_flops
        budget = self.step.budget
        rows: list[tuple[str, list[Any]]] = [
            (name.replace("_", " "), [_cell(x.bytes_by_category[name]) for x in estimates])
            for name in CATEGORIES
        ]
        fits = ["yes" if x.fits(budget) else "no" for x in estimates]
        rows += [
            ("peak memory", [_cell(x.peak_bytes) for x in estimates]),
            (f"fits {readable_bytes(budget)}", fits),
            ("TFLOP", [f"{x.total_flops / 1e12:.4g}" for x in estimates]),
            ("relative to naive", [f"{x.total_flops / max(naive, 1):.2f}" for x in estimates]),
        ]
        if self.tflops is not None:
            seconds = [f"{x.total_flops / self.tflops / 1e12:.4g}" for x in estimates]
            rows.append((f"seconds at {self.tflops:g} TFLOP/s", seconds))
        rows.insert(0, ("", [TITLES[name] for name in self.estimates]))
        width = max(len(name) for name, _ in rows)
        return "\n".join(
            f"{name:<{width}}" + "".join(f"{x:>14}" for x in cells) for name, cells in rows
        )


def report_on(step: TrainingStep, *, tflops: float | None) -> Report:
    """Plan the sizes of a step, and estimate each method.

    Raises:
        ArgumentTypeError: If the step is refused.
    """
    with step.errors_explained():
        # First, because it is quick and refuses items that the encoder does not take.
        naive = step.estimate("naive", SMALLEST)
        plan, sgs = _planned(step)
        checkpointed = step.estimate("checkpointed", plan or SMALLEST)
    estimates = {"naive": naive, "checkpointed": checkpointed, "sgs": sgs}
    return Report(step, plan, estimates, tflops)


def _planned(step: TrainingStep) -> tuple[Plan | None, Estimate]:
    try:
        plan = step.plan()
    except ValueError:
        # Refused for lack of memory; or for another reason, which is raised again here.
        smallest = step.estimate("sgs", SMALLEST)
        if smallest.fits(step.budget):
            raise
        return None, smallest
    return plan, plan.estimate


def _cell(size: int) -> str:
    return readable_bytes(size) if size else "-"


def _advice(smallest: Estimate) -> str:
    """Return what takes the most memory, and what to do about it."""
    taken = smallest.bytes_by_category
    constant = sum(taken[name] for name in (PARAMETERS, GRADIENTS, OPTIMIZER))
    others = {name: taken[name] for name in CATEGORIES[3:]}
    largest = max(others, key=lambda name: others[name])
    if constant >= others[largest]:
        return (
            f"Parameters, gradients and the optimizer's state take {readable_bytes(constant)} of "
            "it at any micro-batch size: freeze a part of the encoder as a stem, or use an "
            "optimizer with less state."
        )
    return f"Most of it, {readable_bytes(others[largest])}, are {largest}: {_REMEDIES[largest]}"


_REMEDIES = {
    "items": "omit --items-on-device, and fetch them from a source.",
    "features": "let the encoder return less per item, e.g. a mean over its positions, or keep "
    "the outputs of a frozen stem in host memory.",
    "activations": "lower the resolution, use --autocast bfloat16, freeze a stem, or checkpoint "
    "inside the encoder.",
    "head": "let the encoder return less per item, e.g. a mean over its positions.",
}
