"""`Plan`: the result of `plan`."""

from __future__ import annotations

from dataclasses import dataclass

from sgs.planning.estimate.result import Estimate
from sgs.sampler import SequentialGradientSampler
from sgs.sizes import Sizes


@dataclass(frozen=True)
class Plan(Sizes):
    """The sizes of a sampler, and the estimate of a step with them.

    Attributes:
        micro_batch_size: Items per call that keeps a graph.
        forward_micro_batch_size: Items per call of the first pass that keeps none.
        kept_graphs: Micro-batches that keep their graph in the first pass.
        estimate: The memory and the operations of a training step.
    """

    estimate: Estimate

    def __str__(self) -> str:
        """Return the sizes and the table of the estimate."""
        return (
            f"micro_batch_size={self.micro_batch_size}, "
            f"forward_micro_batch_size={self.forward_micro_batch_size}, "
            f"kept_graphs={self.kept_graphs}\n{self.estimate}"
        )

    def apply(self, sampler: SequentialGradientSampler) -> None:
        """Set the sizes of a sampler."""
        sampler.micro_batch_size = self.micro_batch_size
        sampler.forward_micro_batch_size = self.forward_micro_batch_size
        sampler.kept_graphs = self.kept_graphs
