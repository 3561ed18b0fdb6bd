"""The contract that every sampling strategy keeps (paper section 3.5)."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from samplers.candidates import Candidates


class AbstractSampler(ABC):
    """A strategy that chooses `count` of the candidates.

    A strategy is a frozen dataclass: configured in its constructor, immutable, hashable. It
    defines the abstract members below and overrides nothing else.

    `requires` names the fields of `Candidates` it needs, a subset of "features", "kernel", "tiou",
    "scale" and "gradient_norm". One that requires "features" can only choose once the features are
    known, one that requires "gradient_norm" once the loss has been back-propagated to them.
    """

    requires: ClassVar[frozenset[str]] = frozenset()

    @property
    @abstractmethod
    def has_inclusion_probability(self) -> bool:
        """Whether `inclusion_probability` has an answer; known before any work is done."""

    @final
    @torch.no_grad()
    def sample(
        self, candidates: Candidates, count: int, *, generator: torch.Generator | None = None
    ) -> Int64[Tensor, " count"]:
        """Choose exactly `count` distinct candidates.

        Randomness is drawn on the generator's device and moved to the candidates', so one CPU
        seed gives one index on every device (for strategies that compute on features or labels:
        up to rounding there).

        Args:
            candidates: What is known about the items.
            count: Number of items to choose, in [1, num_items].
            generator: Source of randomness; the default generator of the CPU if None, which
                `torch.manual_seed` seeds. Deterministic strategies draw nothing from it.

        Returns:
            Distinct positions in ascending order, exactly `count`, on the candidates' device.

        Raises:
            TypeError: If `candidates` are no `Candidates`, or `generator` no `torch.Generator`.
            ValueError: If `count` is no integer in [1, num_items], the candidates lack a field that
                the strategy requires, or the strategy refuses the values of that field.
        """
        self._validate(candidates, count, method="sample")
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
        """Return the probability of each candidate to be in `sample(candidates, count)`.

        Every value lies in [0, 1] and they sum to `count`, because a sample has exactly `count`
        items. An estimate that weighs chosen items by the inverse is unbiased as long as none is 0.

        Args:
            candidates: What is known about the items.
            count: Number of items that would be chosen, in [1, num_items].

        Returns:
            One probability per item, on the candidates' device.

        Raises:
            TypeError: As `sample` does.
            ValueError: Likewise, or if `has_inclusion_probability` is false.
        """
        self._validate(candidates, count, method="inclusion_probability")
        with _small_tensors_on_cpu():
            probability = self._inclusion_probability(candidates, count)
        return probability.to(candidates.device)

    @abstractmethod
    def _sample(
        self, candidates: Candidates, count: int, generator: torch.Generator
    ) -> Int64[Tensor, " count"]:
        """Choose `count` distinct positions, in any order, on any device.

        The arguments are valid already. Equal states of `generator` must give equal positions,
        and nothing else may be a source of randomness.
        """

    @abstractmethod
    def _inclusion_probability(
        self, candidates: Candidates, count: int
    ) -> Float64[Tensor, " items"]:
        """Return the exact probability that `_sample` chooses each item.

        Raises:
            ValueError: If `has_inclusion_probability` is false, with the reason and the way out.
        """

    def _validate(self, candidates: Candidates, count: int, *, method: str) -> None:
        if not isinstance(candidates, Candidates):
            raise TypeError(
                f"{self!r}.{method}(candidates=...): expected Candidates, got "
                f"{type(candidates).__name__}. Pass Candidates(num_items=..., ...) with what is "
                "known of the items, e.g. features=..."
            )
        if not isinstance(count, int) or not 1 <= count <= candidates.num_items:
            raise ValueError(
                f"{self!r}.{method}(count={count!r}): expected an integer in [1, "
                f"{candidates.num_items}], the number of candidates, got {count!r}. "
                "Turn a ratio into a count with count_from_ratio."
            )
        missing = [name for name in sorted(self.requires) if getattr(candidates, name) is None]
        if missing:
            fields = " and ".join(f"`{name}`" for name in missing)
            raise ValueError(
                f"{self!r}.{method}(candidates=...): this strategy requires {fields}, which these "
                f"candidates lack. Pass Candidates({missing[0]}=...), or use a strategy that "
                "requires nothing, e.g. Random()."
            )


def _small_tensors_on_cpu() -> AbstractContextManager[object]:
    """Make new tensors on the CPU, whatever the caller's default device."""
    # Inside of `torch.device` every operation takes microseconds more: a third of a small sample.
    is_default = torch.get_default_device().type == "cpu"
    return nullcontext() if is_default else torch.device("cpu")
