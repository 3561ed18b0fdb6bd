"""The sizes of micro-batches: given by the user, or chosen by a budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """The sizes of micro-batches, and the number of kept graphs.

    Attributes:
        micro_batch_size: Items per encoder call with a graph.
        forward_micro_batch_size: Items per encoder call without a graph.
        kept_graphs: Number of micro-batches of sampled items whose graph is kept in the first pass.
    """

    micro_batch_size: int
    forward_micro_batch_size: int
    kept_graphs: int


class AbstractBudget(ABC):
    """Chooses the sizes for each training call."""

    @abstractmethod
    def sizes_of(
        self, sampler: Any, items: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Sizes:
        """Return the sizes of the next call.

        Args:
            sampler: The `SequentialGradientSampler`; its `sizes` are those of the previous call.
            items: The `CallArguments` of the next call.
            args: The same arguments as the user passed them.
            kwargs: The keyword arguments.
        """


def given_sizes(size: int | AbstractBudget, forward_size: int | None, kept_graphs: int) -> Sizes:
    """Return the sizes given by the options; with a budget, which chooses later, the smallest.

    Raises:
        ValueError: If the options give both a budget and sizes.
    """
    if not isinstance(size, AbstractBudget):
        return Sizes(size, forward_size or size, kept_graphs)
    if forward_size is not None or kept_graphs:
        raise ValueError(
            f"SequentialGradientSampler(micro_batch_size={size!r}): expected neither "
            "forward_micro_batch_size nor kept_graphs, since the budget chooses them."
        )
    return Sizes(1, 1, 0)
