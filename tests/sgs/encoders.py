"""A few kinds of encoders, used by the tests of the engine's options."""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from sgs import SequentialGradientSampler
from tests.sgs.kinds import KINDS
from tests.sgs.kinds.kind import Kind


@dataclass(frozen=True)
class EncoderCase:
    """A kind of encoder that takes one tensor, of items of any number of videos."""

    kind: Kind

    @property
    def is_stochastic(self) -> bool:
        return self.kind.is_stochastic

    def make(self) -> nn.Module:
        return self.kind.make()

    def items(self, *lead: int) -> Tensor:
        (items,) = self.kind.items(math.prod(lead)).values()
        return items.unflatten(0, lead)


def tried(sampler: SequentialGradientSampler) -> SequentialGradientSampler:
    """Return a sampler whose next call does not try whether items interact, by one more call."""
    sampler.history.has_tried_items = True
    return sampler


NAMES = (
    "linear",
    "conv3d",
    "transformer_block",
    "dropout",
    "frozen_stage",
    "unused_submodule",
    "tied_weights",
    "dict_output",
    "lstm",
)
ENCODERS = {name: EncoderCase(KINDS[name]) for name in NAMES}
DETERMINISTIC = {name: case for name, case in ENCODERS.items() if not case.is_stochastic}
