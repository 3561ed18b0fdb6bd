"""How many items the encoder sees at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """The sizes of micro-batches, and how many of them keep their graph.

    Attributes:
        micro_batch_size: Items per call that keeps a graph.
        forward_micro_batch_size: Items per call of the first pass that keeps none.
        kept_graphs: Micro-batches of sampled items that keep their graph in the first pass.
    """

    micro_batch_size: int
    forward_micro_batch_size: int
    kept_graphs: int


class AbstractBudget(ABC):
    """Chooses the sizes of each call that trains."""

    @abstractmethod
    def sizes_of(
        self, sampler: Any, items: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Sizes:
        """Return the sizes of the next call.

        Args:
            sampler: The `SequentialGradientSampler`; its `sizes` are those of the call before.
            items: The arguments of the next call, as `CallArguments`.
            args: The arguments themselves.
            kwargs: The keyword arguments.
        """


def sizes_of(size: int | AbstractBudget, forward_size: int | None, kept_graphs: int) -> Sizes:
    """Return the sizes that the options give; the least there are before a budget chooses.

    Raises:
        ValueError: If some are given beside a budget.
    """
    if not isinstance(size, AbstractBudget):
        return Sizes(size, forward_size or size, kept_graphs)
    if forward_size is not None or kept_graphs:
        raise ValueError(
            f"SequentialGradientSampler(micro_batch_size={size!r}): expected neither "
            "forward_micro_batch_size nor kept_graphs beside a budget, which chooses them."
        )
    return Sizes(1, 1, 0)
