"""The contract that every sampling strategy keeps (paper section 3.5)."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from numbers import Integral
from typing import ClassVar, final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from samplers.candidates import Candidates


class AbstractSampler(ABC):
    """A strategy that chooses `count` of the candidates.

    A strategy is a frozen dataclass: configured in its constructor, immutable, hashable. It
    defines the abstract members below and overrides nothing else.

    `requires` lists the fields of `Candidates` that it needs, a subset of "features", "kernel",
    "tiou", "scale" and "gradient_norm". With "features" it chooses after the encoder has run; with
    "gradient_norm", after the loss has been back-propagated to the features.
    """

    requires: ClassVar[frozenset[str]] = frozenset()

    @property
    @abstractmethod
    def has_inclusion_probability(self) -> bool:
        """Whether `inclusion_probability` is defined; known before any computation."""

    @final
    @torch.no_grad()
    def sample(
        self, candidates: Candidates, count: int, *, generator: torch.Generator | None = None
    ) -> Int64[Tensor, " count"]:
        """Choose exactly `count` distinct candidates.

        Random numbers are drawn on the generator's device and moved to the candidates' device. A
        CPU seed therefore gives the same index on every device (up to rounding, if the strategy
        computes on features or labels).

        Args:
            candidates: The items, with the fields that the strategy requires.
            count: Number of items to choose, in [1, num_items].
            generator: Source of randomness; torch's default CPU generator if None. Deterministic
                strategies draw nothing from it.

        Returns:
            Distinct positions in ascending order, exactly `count`, on the candidates' device.

        Raises:
            TypeError: If `candidates` is not `Candidates`, or `generator` not a `torch.Generator`.
            ValueError: If `count` is not an integer in [1, num_items], or a field that the strategy
                requires is missing or has invalid values.
        """
        count = self._validated(candidates, count, method="sample")
        generator = torch.default_generator if generator is None else generator
        if not isinstance(generator, torch.Generator):
            raise TypeError(
                f"{self!r}.sample(generator={generator!r}): expected a torch.Generator or None. "
                "Pass torch.Generator().manual_seed(seed)."
            )
        with _small_tensors_on_cpu():
            index = self._sample(candidates, count, generator)
        return index.to(candidates.device).sort().values

    @final
    @torch.no_grad()
    def inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        """Return the probability that `sample(candidates, count)` contains each candidate.

        Every value lies in [0, 1], and their sum is `count`. An estimate that weights chosen items
        by the inverse is unbiased, as long as no value is 0.

        Args:
            candidates: The items, with the fields that the strategy requires.
            count: Number of items that would be chosen, in [1, num_items].

        Returns:
            One probability per item, on the candidates' device.

        Raises:
            TypeError: As in `sample`.
            ValueError: As in `sample`, or if `has_inclusion_probability` is false.
        """
        count = self._validated(candidates, count, method="inclusion_probability")
        with _small_tensors_on_cpu():
            probability = self._inclusion_probability(candidates, count)
        return probability.to(candidates.device)

    @abstractmethod
    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        """Choose `count` distinct positions, in any order, on any device.

        The arguments have been checked. `generator` is the only source of randomness: equal states
        must give equal positions.
        """

    @abstractmethod
    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        """Return the exact probability that `_sample` chooses each item.

        Raises:
            ValueError: If `has_inclusion_probability` is false, with the reason and an alternative.
        """

    def _validated(self, candidates: Candidates, count: int, *, method: str) -> int:
        if not isinstance(candidates, Candidates):
            raise TypeError(
                f"{self!r}.{method}(candidates=...): expected Candidates, got "
                f"{type(candidates).__name__}. Pass Candidates(num_items=..., ...) with the fields "
                "that the strategy requires, e.g. features=..."
            )
        if not isinstance(count, Integral) or not 1 <= count <= candidates.num_items:
            raise ValueError(
                f"{self!r}.{method}(count={count!r}): expected an integer in [1, "
                f"{candidates.num_items}], the number of candidates, got {count!r}. "
                "Turn a ratio into a count with count_from_ratio."
            )
        missing = [name for name in sorted(self.requires) if getattr(candidates, name) is None]
        if missing:
            fields = " and ".join(f"`{name}`" for name in missing)
            raise ValueError(
                f"{self!r}.{method}(candidates=...): this strategy requires {fields}, which is "
                f"missing. Pass Candidates({missing[0]}=...), or use a strategy that "
                "requires nothing, e.g. Random()."
            )
        return int(count)


def _small_tensors_on_cpu() -> AbstractContextManager[object]:
    """Create new tensors on the CPU, regardless of the caller's default device."""
    # `torch.device` adds microseconds to every operation, a third of the time of a small sample.
    is_default = torch.get_default_device().type == "cpu"
    return nullcontext() if is_default else torch.device("cpu")
