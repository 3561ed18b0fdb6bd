"""The ways to train an encoder that `estimate` compares, on fake tensors."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from sgs.abridged import AbridgedPasses
from sgs.engine import TwoPasses
from sgs.items import ItemCall, Shared
from sgs.module import SequentialGradientSampler
from sgs.rehearsal import BACKWARD, FEATURES, FORWARD, ITEMS, Rehearsal, rehearsed
from sgs.spread_out import SpreadOut, SpreadOutLate

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class WatchedEncoder(nn.Module):
    """An encoder whose calls are watched.

    Args:
        encoder: What is called.
        rehearsal: What watches.
    """

    def __init__(self, encoder: nn.Module, rehearsal: Rehearsal) -> None:
        super().__init__()
        self.encoder = encoder
        self._rehearsal = rehearsal
        self.training = encoder.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the encoder."""
        return self._rehearsal.encode(self.encoder, args, kwargs)


@dataclass(frozen=True)
class Method:
    """What computes the features of all items from fake ones, as one way of training does.

    Args:
        sampler: The options; its encoder is not called.
        encoder: The fake encoder.
        rehearsal: What watches its calls.
        items_on_device: Whether a part of the items is a view of them, not a copy.
    """

    sampler: SequentialGradientSampler
    encoder: WatchedEncoder
    rehearsal: Rehearsal
    items_on_device: bool

    def features(self, name: str, arguments: Arguments) -> Any:
        """Return the features of all items by the method of that name."""
        found: Any = getattr(self, f"_{name}")(arguments)
        return found

    def _sgs(self, arguments: Arguments) -> Any:
        """Train with the sampler itself, its strategy aside."""
        sampler = copy.copy(self.sampler)
        sampler._modules = {"encoder": self.encoder}
        stand_in = SpreadOutLate if "features" in sampler.sampler.requires else SpreadOut
        sampler.sampler = stand_in(sampler.forward_micro_batch_size)
        # On the copy alone.
        sampler._passes = partial(self._abridged, sampler)  # type: ignore[method-assign]
        with self.rehearsal.memory.of(FEATURES):
            return sampler(*arguments[0], **arguments[1])

    def _abridged(
        self, sampler: SequentialGradientSampler, encoder: nn.Module, call: ItemCall
    ) -> TwoPasses:
        passes = SequentialGradientSampler._passes(sampler, encoder, call)
        passes.__class__ = AbridgedPasses
        assert isinstance(passes, AbridgedPasses)
        passes.rehearsal = self.rehearsal
        return passes

    def _naive(self, arguments: Arguments) -> Any:
        """Train in one graph of all items."""
        call = self._call(arguments)
        args, kwargs = self._part(arguments, slice(None))
        return self._in_lead_shape(call, self.encoder(*args, **kwargs))

    def _checkpointed(self, arguments: Arguments) -> Any:
        """Train in one graph of micro-batches that are recomputed, each in a checkpoint."""
        call = self._call(arguments)
        starts = range(0, call.num_items, self.sampler.micro_batch_size)
        parts = [slice(i, min(i + starts.step, call.num_items)) for i in starts]
        sizes = [part.stop - part.start for part in parts]
        made = rehearsed(sizes)
        for name, order in ((FORWARD, made), (BACKWARD, made[::-1])):
            self.rehearsal.announce(name, sizes=sizes, made=[sizes[i] for i in order])
        outputs = [self._checkpoint(self._part(arguments, parts[i])) for i in made]
        left_out = sum(sizes) - sum(sizes[i] for i in made)
        if not self.items_on_device:
            # The checkpoints hold the copies until they are recomputed.
            self.rehearsal.held.append(self._part(arguments, slice(left_out)))
        with self.rehearsal.memory.of(FEATURES), self.rehearsal.dry_run.faking():
            joined = pytree.tree_map(partial(_join, left_out), *outputs)
        return self._in_lead_shape(call, joined)

    def _checkpoint(self, arguments: Arguments) -> Any:
        return checkpoint(self.encoder, *arguments[0], use_reentrant=False, **arguments[1])

    def num_items(self, arguments: Arguments) -> int:
        """Return the number of items of all videos."""
        return self._call(arguments).num_items

    def _call(self, arguments: Arguments) -> ItemCall:
        return ItemCall(*arguments, item_dim=self.sampler.item_dim)

    def _part(self, arguments: Arguments, part: slice) -> Arguments:
        def take(leaf: Any) -> Any:
            if isinstance(leaf, Shared):
                return leaf.value
            if not isinstance(leaf, Tensor):
                return leaf
            rows = leaf.flatten(0, self.sampler.item_dim)[part]
            return rows if self.items_on_device else rows.clone()

        with self.rehearsal.memory.of(ITEMS):
            taken: Arguments = pytree.tree_map(take, arguments)
        return taken

    def _in_lead_shape(self, call: ItemCall, features: Any) -> Any:
        return pytree.tree_map(
            lambda x: x.unflatten(0, call.lead_shape) if isinstance(x, Tensor) else x, features
        )


def _join(left_out: int, *leaves: Any) -> Any:
    """Put micro-batches together, with room for those that were left out."""
    if not isinstance(leaves[0], Tensor):
        return leaves[0]
    room = leaves[0].new_empty(left_out, *leaves[0].shape[1:])
    return torch.cat([*leaves, room])
