"""The encoder and the frozen stem, with their calls counted by a `StepCounter`."""

from __future__ import annotations

from typing import Any

from torch import nn

from sgs.planning.estimate.live_bytes import IGNORED
from sgs.planning.estimate.step_counter import FEATURES, StepCounter


class WatchedEncoder(nn.Module):
    """An encoder whose calls are counted.

    Args:
        encoder: The module to call.
        counter: Counts the calls.
    """

    def __init__(self, encoder: nn.Module, counter: StepCounter) -> None:
        super().__init__()
        self.encoder = encoder
        self._counter = counter
        self.training = encoder.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the encoder."""
        return self._counter.call_encoder(self.encoder, args, kwargs)


class WatchedStem(nn.Module):
    """A frozen stem whose calls are counted.

    Args:
        stem: The module to call.
        counter: Counts the calls.
        is_cached_on_host: Whether the sampler keeps copies of the outputs in host memory. It makes
            these copies between the call of the stem and that of the encoder.
    """

    def __init__(self, stem: nn.Module, counter: StepCounter, *, is_cached_on_host: bool) -> None:
        super().__init__()
        self.stem = stem
        self._counter = counter
        self._category = IGNORED if is_cached_on_host else FEATURES
        self.training = stem.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the stem."""
        outputs = self._counter.call_stem(self.stem, args, kwargs)
        self._counter.memory.category = self._category
        return outputs
