"""What `python -m sgs` answers."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from sgs.planning.byte_size import readable_bytes
from sgs.planning.command_line.question import Question
from sgs.planning.estimate.rehearsal import CATEGORIES, GRADIENTS, OPTIMIZER, PARAMETERS
from sgs.planning.estimate.result import Estimate
from sgs.planning.settings.result import Plan

TITLES = {"naive": "naive", "checkpointed": "checkpointed", "sgs": "SGS"}
WIDTH = 100
NOTES = """\
naive: one call of the encoder on all items. checkpointed: a graph of micro-batches of the size that
SGS has, each in torch.utils.checkpoint. Both train all items. Memory is that of the moment when it
is most. A method fits if it leaves 10 % of the budget. Not counted are your head and loss (the mean
square of the features stands for them), the CUDA context, workspaces of cuDNN and cuBLAS,
fragmentation, host memory, and kernels that a GPU chooses otherwise than a CPU. A multiply-add is
two operations."""
TIME_NOTE = """\
Seconds are operations divided by what you say the device sustains, equally well for each method:
decoding, copies and the optimizer come on top."""


@dataclass(frozen=True)
class Answer:
    """Whether a training step fits, with which settings, and what each method takes.

    Attributes:
        question: What was asked.
        found: The plan; None if not even micro-batches of one item fit.
        estimates: By method, in the order of `TITLES`.
        tflops: What the device sustains, in 10^12 operations per second, if known.
    """

    question: Question
    found: Plan | None
    estimates: dict[str, Estimate]
    tflops: float | None

    def __str__(self) -> str:
        """Show a verdict, the line to write, and a table."""
        verdict = textwrap.fill(self._verdict(), WIDTH, break_on_hyphens=False)
        parts = [verdict, *([] if self.found is None else [self._line()]), self._table()]
        notes = NOTES if self.tflops is None else f"{NOTES}\n{TIME_NOTE}"
        return "\n\n".join([*parts, notes])

    def _verdict(self) -> str:
        peaks = {name: readable_bytes(x.peak_bytes) for name, x in self.estimates.items()}
        budget, step = readable_bytes(self.question.budget), f"a training step on {self.question}"
        if self.found is None:
            return (
                f"No: {step} takes {peaks['sgs']} with SGS even at one item at a time, and there "
                f"are {budget}, less a margin of 10 %. {_advice(self.estimates['sgs'])}"
            )
        if self.estimates["naive"].fits(self.question.budget):
            return (
                f"Yes, and it needs no SGS: {step} takes {peaks['naive']} of {budget} in one call "
                "of the encoder."
            )
        return (
            f"Yes: {step} takes {peaks['sgs']} of {budget} with SGS. It would take "
            f"{peaks['naive']} in one call of the encoder, and {peaks['checkpointed']} with "
            "checkpointed micro-batches."
        )

    def _line(self) -> str:
        options = self.question.options(self.found)
        if self.question.frozen_stem is not None:
            is_on_host = self.question.stem_cache_on_host
            on_host = 'FrozenStem(frozen_stem, cache_device="cpu")'
            options["frozen_stem"] = on_host if is_on_host else "frozen_stem"
        given = ", ".join(("encoder", *(f"{name}={value}" for name, value in options.items())))
        indent = " " * 4
        line = f"{indent}sampler = SequentialGradientSampler({given})"
        if len(line) <= WIDTH:
            return line
        inner = textwrap.indent(textwrap.fill(given, WIDTH - 8), 2 * indent)
        return f"{indent}sampler = SequentialGradientSampler(\n{inner}\n{indent})"

    def _table(self) -> str:
        found = list(self.estimates.values())
        naive = self.estimates["naive"].total_flops
        budget = self.question.budget
        rows: list[tuple[str, list[Any]]] = [
            (name.replace("_", " "), [_cell(x.bytes_by_category[name]) for x in found])
            for name in CATEGORIES
        ]
        fits = ["yes" if x.fits(budget) else "no" for x in found]
        rows += [
            ("peak memory", [_cell(x.peak_bytes) for x in found]),
            (f"fits {readable_bytes(budget)}", fits),
            ("TFLOP", [f"{x.total_flops / 1e12:.4g}" for x in found]),
            ("relative to naive", [f"{x.total_flops / max(naive, 1):.2f}" for x in found]),
        ]
        if self.tflops is not None:
            seconds = [f"{x.total_flops / self.tflops / 1e12:.4g}" for x in found]
            rows.append((f"seconds at {self.tflops:g} TFLOP/s", seconds))
        rows.insert(0, ("", [TITLES[name] for name in self.estimates]))
        width = max(len(name) for name, _ in rows)
        return "\n".join(
            f"{name:<{width}}" + "".join(f"{x:>14}" for x in cells) for name, cells in rows
        )


def answer(question: Question, *, tflops: float | None) -> Answer:
    """Find the settings, and what each method takes.

    Raises:
        ArgumentTypeError: If a step is refused.
    """
    with question.explained():
        # First: it is quick, and shows whether the encoder takes such items at all.
        naive = question.estimate("naive", found=None)
        found, sgs = _planned(question)
        checkpointed = question.estimate("checkpointed", found=found)
    estimates = {"naive": naive, "checkpointed": checkpointed, "sgs": sgs}
    return Answer(question, found, estimates, tflops)


def _planned(question: Question) -> tuple[Plan | None, Estimate]:
    try:
        found = question.plan()
    except ValueError:
        # Refused for the memory, or for another reason, which is raised once more.
        least = question.estimate("sgs", found=None)
        if least.fits(question.budget):
            raise
        return None, least
    return found, found.estimate


def _cell(size: int) -> str:
    return readable_bytes(size) if size else "-"


def _advice(least: Estimate) -> str:
    """Say what takes the most, and what helps against it."""
    taken = least.bytes_by_category
    resident = sum(taken[name] for name in (PARAMETERS, GRADIENTS, OPTIMIZER))
    others = {name: taken[name] for name in CATEGORIES[3:]}
    worst = max(others, key=lambda name: others[name])
    if resident >= others[worst]:
        return (
            f"Parameters, gradients and the optimizer's state take {readable_bytes(resident)} of "
            "it, whatever the micro-batches: freeze a part of the encoder as a stem, or take an "
            "optimizer with less state."
        )
    return f"Most of it, {readable_bytes(others[worst])}, are {worst}: {_REMEDIES[worst]}"


_REMEDIES = {
    "items": "leave --items-on-device away, and fetch them from a source.",
    "features": "let the encoder return less per item, e.g. a mean over its positions, or keep "
    "what a frozen stem returns in host memory.",
    "activations": "lower the resolution, take --autocast bfloat16, freeze a stem, or checkpoint "
    "inside the encoder.",
    "head": "let the encoder return less per item, e.g. a mean over its positions.",
}
