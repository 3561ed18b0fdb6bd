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

from sgs.items.arguments import CallArguments
from sgs.items.shared import Shared
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


class WatchedStem(nn.Module):
    """A frozen stem whose calls are watched.

    Args:
        module: What is called.
        rehearsal: What watches.
        is_cached_on_host: Whether the copies of its outputs, which are made between its call and
            that of the encoder, lie in host memory.
    """

    def __init__(self, module: nn.Module, rehearsal: Rehearsal, *, is_cached_on_host: bool) -> None:
        super().__init__()
        self.module = module
        self._rehearsal = rehearsal
        self._category = IGNORED if is_cached_on_host else FEATURES
        self.training = module.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module."""
        outputs = self._rehearsal.prepare(self.module, args, kwargs)
        self._rehearsal.memory.category = self._category
        return outputs


@dataclass(frozen=True)
class Method:
    """What computes the features of all items from fake ones, as one way of training does.

    Args:
        sampler: The options; its encoder is not called.
        encoder: The fake encoder.
        stem: The fake stem, if there is one.
        rehearsal: What watches its calls.
    """

    sampler: SequentialGradientSampler
    encoder: WatchedEncoder
    stem: nn.Module | None
    rehearsal: Rehearsal

    def features(self, name: str, arguments: FakeArguments) -> Any:
        """Return the features of all items by the method of that name."""
        found: Any = getattr(self, f"_{name}")(arguments)
        return found

    def _sgs(self, arguments: FakeArguments) -> Any:
        """Train with the sampler itself, its strategy aside."""
        sampler = copy.copy(self.sampler)
        sampler._modules = {"encoder": self.encoder, "frozen_stem": self._watched_stem()}
        sizes = self.sampler.sizes
        sampler.micro_batch_size = sizes.micro_batch_size
        sampler.forward_micro_batch_size = sizes.forward_micro_batch_size
        sampler.kept_graphs = sizes.kept_graphs
        is_guided = bool(sampler.sampler.requires)
        spread_out = SpreadOut(sizes.forward_micro_batch_size)
        sampler.sampler = spread_out if is_guided else FirstItems()
        with self.rehearsal.memory.of(FEATURES):
            return sampler(*arguments.args, **arguments.kwargs)

    def _watched_stem(self) -> nn.Module | None:
        is_on_host = self.sampler.stem_cache_device is not None
        return self.stem and WatchedStem(self.stem, self.rehearsal, is_cached_on_host=is_on_host)

    def _naive(self, arguments: FakeArguments) -> Any:
        """Train in one graph of all items."""
        call = self._call(arguments)
        return self._in_lead_shape(call, self._encode(self._part(arguments, slice(None))))

    def _encode(self, part: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
        args, kwargs = part
        with torch.no_grad():
            if self.stem is not None:
                args, kwargs = (self.rehearsal.prepare(self.stem, args, kwargs),), {}
        return self.encoder(*args, **kwargs)

    def _checkpointed(self, arguments: FakeArguments) -> Any:
        """Train in one graph of micro-batches that are recomputed, each in a checkpoint."""
        call = self._call(arguments)
        starts = range(0, call.num_items, self.sampler.sizes.micro_batch_size)
        parts = [slice(i, min(i + starts.step, call.num_items)) for i in starts]
        sizes = [part.stop - part.start for part in parts]
        made = rehearsed(sizes)
        left_out = [size for i, size in enumerate(sizes) if i not in set(made)]
        names = ("encoder",) if self.stem is None else ("encoder", "frozen_stem")
        self.rehearsal.leave_out(names, left_out)
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

    def _call(self, arguments: FakeArguments) -> CallArguments:
        return CallArguments(arguments.args, arguments.kwargs, item_dim=self.sampler.item_dim)

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

    def _in_lead_shape(self, call: CallArguments, features: Any) -> Any:
        return pytree.tree_map(
            lambda x: x.unflatten(0, call.lead_shape) if isinstance(x, Tensor) else x, features
        )


def _join(left_out: int, *leaves: Any) -> Any:
    """Put micro-batches together, with room for those that were left out."""
    if not isinstance(leaves[0], Tensor):
        return leaves[0]
    room = leaves[0].new_empty(left_out, *leaves[0].shape[1:])
    return torch.cat([*leaves, room])
