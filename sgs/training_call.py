"""One call that trains: the first pass, the subset, and the second pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sgs.batch_norm import coupled_batch_norm
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
        stem: Runs before the encoder, if there is one.
        sizes: The sizes of micro-batches.
        draw: Draws the subset.
        on_draw: Is called with each subset when it is drawn, and the items' dimensions; with None
            when that has to wait for the gradients.

    Attributes:
        items: As given.
        subset: The items that get a gradient; None as long as they are not drawn.
        inputs: The tensors that `gradients` returns a gradient for.
    """

    def __init__(
        self,
        encoder: nn.Module,
        items: CallArguments,
        stem: FrozenStem | None,
        *,
        sizes: Sizes,
        draw: SubsetDraw,
        on_draw: Callable[[Subset | None, torch.Size], None],
    ) -> None:
        self.items = items
        self.subset: Subset | None = None
        self._sizes = sizes
        self._draw = draw
        self._on_draw = on_draw
        # In every backward, since the gradients differ.
        self._draws_late = False
        calls = EncoderCalls(encoder, items, stem)
        self.inputs = calls.inputs
        self._passes = TwoPasses(
            calls,
            micro_batch_size=sizes.micro_batch_size,
            couples_items=bool(coupled_batch_norm(with_stem(encoder, stem))),
        )

    def encode(self, *, check_replay: bool | float, compares_all: bool) -> FeatureBuffer:
        """Run the first pass, and draw the subset unless it takes gradients to draw it.

        Args:
            check_replay: As of `SequentialGradientSampler`.
            compares_all: Whether another subset than the drawn one may be repeated.
        """
        features = self._first_pass()
        self._on_draw(self.subset, self.items.lead_shape)
        index = torch.arange(self.items.num_items, device="cpu")
        if self.subset is not None and not compares_all:
            index = self.subset.positions
        self._passes.compare(features, index, tolerance=check_replay)
        return features

    def _first_pass(self) -> FeatureBuffer:
        """Encode all items, and draw the subset before or after that, as the strategy asks for."""
        lead, count = self.items.lead_shape, self.items.num_items
        num_videos, num_items = lead[:-1].numel(), lead[-1]
        if self._draw.is_guided and count > 0:
            size = self._sizes.forward_micro_batch_size
            features = self._passes.encode(consecutive(count, size=size))
            self._draws_late = self._draw.needs_gradients
            if not self._draws_late:
                compared = features.of_sampling()
                self.subset = self._draw(num_videos, num_items, features=compared)
            return features
        self.subset = self._draw(num_videos, num_items)
        micro_batches = sampled_apart(self.subset, count, self._sizes)
        return self._passes.encode(micro_batches, num_kept=self._sizes.kept_graphs)

    def gradients(
        self, feature_gradients: Sequence[Tensor | None], subset: Subset | None = None
    ) -> list[Tensor | None]:
        """Run the second pass, and return the gradient of each of `inputs`.

        Args:
            feature_gradients: One per leaf of the features; None where the loss does not depend on
                it.
            subset: The items whose gradient is used; those drawn if None.
        """
        return self._passes.gradients(subset or self._drawn(feature_gradients), feature_gradients)

    def _drawn(self, feature_gradients: Sequence[Tensor | None]) -> Subset:
        if self.subset is not None and not self._draws_late:
            return self.subset
        norms = gradient_norms(feature_gradients, self.items.lead_shape)
        self.subset = self._draw(*norms.shape, gradient_norms=norms)
        self._on_draw(self.subset, self.items.lead_shape)
        return self.subset


def trains(encoder: nn.Module, items: CallArguments) -> bool:
    """Tell whether the encoder or an argument of the call requires a gradient."""
    return any(tensor.requires_grad for tensor in (*encoder.parameters(), *items.tensors))
