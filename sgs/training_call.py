"""One training call: the first pass, the subset, and the second pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from sgs.batch_norm import coupled_batch_norm
from sgs.call_history import CallHistory
from sgs.encoder_calls import EncoderCalls
from sgs.engine import TwoPasses
from sgs.items.arguments import CallArguments
from sgs.items.features import FeatureBuffer
from sgs.items.frozen_stem import FrozenStem, with_stem
from sgs.micro_batches import consecutive, sampled_apart
from sgs.sizes import Sizes
from sgs.subset import Subset, SubsetDraw, gradient_norms


class TrainingCall:
    """Both passes over the items of one call, and the subset that is drawn in between.

    Args:
        encoder: Maps a micro-batch of items to their features.
        items: The arguments of the call.
        stem: The frozen layers in front of the encoder, if any.
        sizes: The sizes of micro-batches.
        draw: Draws the subset.
        check_replay: The option of `SequentialGradientSampler`.
        on_draw: Called after the first pass with `index`. With a gradient-guided strategy that is
            still None, and each backward calls it again.
        checks_items: Whether an encoder whose items interact is refused.
        history: What the sampler remembers of its calls.

    Attributes:
        items: The arguments of the call.
        inputs: The tensors whose gradients `gradients` returns.
    """

    def __init__(
        self,
        encoder: nn.Module,
        items: CallArguments,
        stem: FrozenStem | None,
        *,
        sizes: Sizes,
        draw: SubsetDraw,
        check_replay: bool | float,
        on_draw: Callable[[Tensor | None], None],
        checks_items: bool,
        history: CallHistory,
    ) -> None:
        self.items = items
        self._subset: Subset | None = None
        self._sizes = sizes
        self._draw = draw
        self._on_draw = on_draw
        self._history = history
        # Whether each backward draws its own subset, from its gradients.
        self._draws_late = False
        calls = EncoderCalls(encoder, items, stem, history, checks_items=checks_items)
        self.inputs = calls.inputs
        self._passes = TwoPasses(
            calls,
            micro_batch_size=sizes.micro_batch_size,
            couples_items=bool(coupled_batch_norm(with_stem(encoder, stem))),
            check_replay=check_replay,
        )

    @property
    def index(self) -> Int64[Tensor, "*videos count"] | None:
        """The items that get a gradient; None until they are drawn."""
        subset = self._subset
        return None if subset is None else subset.in_shape(self.items.lead_shape)

    def encode(self, *, compares_all: bool) -> FeatureBuffer:
        """Run the first pass, and draw the subset unless the strategy needs gradients.

        Args:
            compares_all: Whether the features of all items are kept for comparison, because
                `gradients` may be called with another subset than the drawn one.
        """
        features = self._first_pass()
        self._on_draw(self.index)
        index = torch.arange(self.items.num_items, device="cpu")
        if self._subset is not None and not compares_all:
            index = self._subset.positions
        self._passes.remember(features, index)
        return features

    def _first_pass(self) -> FeatureBuffer:
        """Encode all items, and draw the subset before or after, depending on the strategy."""
        lead, count = self.items.lead_shape, self.items.num_items
        num_videos, num_items = lead[:-1].numel(), lead[-1]
        if self._draw.is_guided and count > 0:
            size = self._sizes.forward_micro_batch_size
            features = self._passes.encode(consecutive(count, size=size))
            self._draws_late = self._draw.needs_gradients
            if not self._draws_late:
                compared = features.of_sampling()
                self._subset = self._draw(num_videos, num_items, features=compared)
            return features
        self._subset = self._draw(num_videos, num_items)
        micro_batches = sampled_apart(self._subset, count, self._sizes)
        return self._passes.encode(micro_batches, num_kept=self._sizes.kept_graphs)

    def gradients(
        self, feature_gradients: Sequence[Tensor | None], subset: Subset | None = None
    ) -> list[Tensor | None]:
        """Run the second pass, and return the gradient of each of `inputs`.

        Args:
            feature_gradients: One per leaf of the features; None where the loss does not depend on
                it.
            subset: The items whose gradient is used; the drawn ones if None.
        """
        subset = subset or self._drawn_subset(feature_gradients)
        gradients = self._passes.gradients(subset, feature_gradients)
        self._history.num_backwards += 1
        return gradients

    def _drawn_subset(self, feature_gradients: Sequence[Tensor | None]) -> Subset:
        if self._subset is not None and not self._draws_late:
            return self._subset
        norms = gradient_norms(feature_gradients, self.items.lead_shape)
        self._subset = self._draw(*norms.shape, gradient_norms=norms)
        self._on_draw(self.index)
        return self._subset


def trains(encoder: nn.Module, items: CallArguments) -> bool:
    """Tell whether the encoder or an argument of the call requires a gradient."""
    return any(tensor.requires_grad for tensor in chain(encoder.parameters(), items.tensors))
