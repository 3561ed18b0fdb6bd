"""The ways to train an encoder that `estimate` compares, on fake tensors."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from sgs.items.arguments import ItemCall, Shared
from sgs.planning.estimate.fake_arguments import FakeArguments
from sgs.planning.estimate.live_bytes import IGNORED
from sgs.planning.estimate.rehearsal import FEATURES, ITEMS, Rehearsal, rehearsed
from sgs.planning.estimate.stand_in_strategies import FirstItems, SpreadOut
from sgs.sampler import SequentialGradientSampler


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


class WatchedFront(nn.Module):
    """A module in front of the encoder whose calls are watched.

    Args:
        name: Of the option.
        module: What is called.
        rehearsal: What watches.
        category: What memory is for that is taken between this call and that of the encoder.
    """

    def __init__(
        self, name: str, module: nn.Module, rehearsal: Rehearsal, *, category: str
    ) -> None:
        super().__init__()
        self.module = module
        self._name, self._rehearsal, self._category = name, rehearsal, category
        self.training = module.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module."""
        outputs = self._rehearsal.prepare(self._name, self.module, args, kwargs)
        self._rehearsal.memory.category = self._category
        return outputs


@dataclass(frozen=True)
class Method:
    """What computes the features of all items from fake ones, as one way of training does.

    Args:
        sampler: The options; its encoder is not called.
        encoder: The fake encoder.
        front: The fake modules in front of it, by option.
        rehearsal: What watches its calls.
    """

    sampler: SequentialGradientSampler
    encoder: WatchedEncoder
    front: Mapping[str, nn.Module]
    rehearsal: Rehearsal

    def features(self, name: str, arguments: FakeArguments) -> Any:
        """Return the features of all items by the method of that name."""
        found: Any = getattr(self, f"_{name}")(arguments)
        return found

    def _sgs(self, arguments: FakeArguments) -> Any:
        """Train with the sampler itself, its strategy aside."""
        sampler = copy.copy(self.sampler)
        sampler._modules = {"encoder": self.encoder, **self._watched_front()}
        sampler.memory_budget = None
        is_guided = bool(sampler.sampler.requires)
        spread_out = SpreadOut(sampler.forward_micro_batch_size)
        sampler.sampler = spread_out if is_guided else FirstItems()
        with self.rehearsal.memory.of(FEATURES):
            return sampler(*arguments.args, **arguments.kwargs)

    def _watched_front(self) -> dict[str, nn.Module]:
        # What a stem returned is copied before the encoder is called, to the host if asked.
        is_host = self.sampler.stem_cache_device is not None
        categories = {"preprocess": ITEMS, "frozen_stem": IGNORED if is_host else FEATURES}
        return {
            name: WatchedFront(name, module, self.rehearsal, category=categories[name])
            for name, module in self.front.items()
        }

    def _naive(self, arguments: FakeArguments) -> Any:
        """Train in one graph of all items."""
        call = self._call(arguments)
        return self._in_lead_shape(call, self._encode(self._part(arguments, slice(None))))

    def _encode(self, part: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
        args, kwargs = part
        with torch.no_grad():
            for name, module in self.front.items():
                args, kwargs = (self.rehearsal.prepare(name, module, args, kwargs),), {}
        return self.encoder(*args, **kwargs)

    def _checkpointed(self, arguments: FakeArguments) -> Any:
        """Train in one graph of micro-batches that are recomputed, each in a checkpoint."""
        call = self._call(arguments)
        starts = range(0, call.num_items, self.sampler.micro_batch_size)
        parts = [slice(i, min(i + starts.step, call.num_items)) for i in starts]
        sizes = [part.stop - part.start for part in parts]
        made = rehearsed(sizes)
        left_out = [size for i, size in enumerate(sizes) if i not in set(made)]
        self.rehearsal.leave_out(("encoder", *self.front), left_out)
        given = [self._part(arguments, parts[i]) for i in made]
        outputs = [checkpoint(self._encode, part, use_reentrant=False) for part in given]
        # The checkpoints hold copies of items in host memory until they are recomputed.
        self.rehearsal.held.append(self._part(arguments, slice(sum(left_out))))
        with self.rehearsal.memory.of(FEATURES), self.rehearsal.dry_run.faking():
            joined = pytree.tree_map(partial(_join, sum(left_out)), *outputs)
        return self._in_lead_shape(call, joined)

    def num_items(self, arguments: FakeArguments) -> int:
        """Return the number of items of all videos."""
        return self._call(arguments).num_items

    def _call(self, arguments: FakeArguments) -> ItemCall:
        return ItemCall(arguments.args, arguments.kwargs, item_dim=self.sampler.item_dim)

    def _part(
        self, arguments: FakeArguments, part: slice
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def take(leaf: Any) -> Any:
            if isinstance(leaf, Shared):
                return leaf.value
            if not isinstance(leaf, Tensor):
                return leaf
            rows = leaf.flatten(0, self.sampler.item_dim)[part]
            return rows.clone() if arguments.is_on_host(leaf) else rows

        with self.rehearsal.memory.of(ITEMS):
            args, kwargs = pytree.tree_map(take, (arguments.args, arguments.kwargs))
        return args, kwargs

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
