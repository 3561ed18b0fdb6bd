"""The ways to train that `estimate` compares: "sgs", "naive" and "checkpointed"."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from sgs.call_history import CallHistory
from sgs.items.arguments import CallArguments
from sgs.items.shared import Shared
from sgs.planning.estimate.fake_arguments import FakeArguments
from sgs.planning.estimate.step_counter import FEATURES, ITEMS, StepCounter, calls_to_run
from sgs.planning.estimate.watched_modules import WatchedEncoder, WatchedStem
from sgs.planning.estimate.worst_case_strategies import FirstItems, SpreadOut
from sgs.sampler import SequentialGradientSampler

METHODS = ("sgs", "naive", "checkpointed")


@dataclass(frozen=True)
class TrainingMethods:
    """Computes the features of fake items as one of the methods does.

    Args:
        sampler: The options; its encoder is not called.
        encoder: The fake encoder.
        stem: The fake stem, if any.
        counter: Counts the calls of both.
    """

    sampler: SequentialGradientSampler
    encoder: WatchedEncoder
    stem: nn.Module | None
    counter: StepCounter

    def features(self, method: str, arguments: FakeArguments) -> Any:
        """Return the features of all items, computed by one of `METHODS`."""
        return getattr(self, f"_{method}")(arguments)

    def _sgs(self, arguments: FakeArguments) -> Any:
        """Call the sampler itself, with the worst case of its strategy."""
        sampler = copy.copy(self.sampler)
        sampler._modules = {"encoder": self.encoder, "frozen_stem": self._watched_stem()}
        sizes = self.sampler.sizes
        sampler.micro_batch_size = sizes.micro_batch_size
        sampler.forward_micro_batch_size = sizes.forward_micro_batch_size
        sampler.kept_graphs = sizes.kept_graphs
        sampler.history = CallHistory(has_tried_items=True)
        looks_at_features = bool(sampler.sampler.requires)
        spread_out = SpreadOut(sizes.forward_micro_batch_size)
        sampler.sampler = spread_out if looks_at_features else FirstItems()
        with self.counter.memory.of(FEATURES):
            return sampler(*arguments.args, **arguments.kwargs)

    def _watched_stem(self) -> nn.Module | None:
        is_on_host = self.sampler.stem_cache_device is not None
        return self.stem and WatchedStem(self.stem, self.counter, is_cached_on_host=is_on_host)

    def _naive(self, arguments: FakeArguments) -> Any:
        """Encode all items in one call and one graph."""
        call = self._call(arguments)
        return self._in_lead_shape(call, self._encode(self._part(arguments, slice(None))))

    def _encode(self, part: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
        args, kwargs = part
        with torch.no_grad():
            if self.stem is not None:
                args, kwargs = (self.counter.call_stem(self.stem, args, kwargs),), {}
        return self.encoder(*args, **kwargs)

    def _checkpointed(self, arguments: FakeArguments) -> Any:
        """Encode micro-batches in one graph, each in a checkpoint; only `calls_to_run` run."""
        call = self._call(arguments)
        starts = range(0, call.num_items, self.sampler.sizes.micro_batch_size)
        parts = [slice(i, min(i + starts.step, call.num_items)) for i in starts]
        sizes = [part.stop - part.start for part in parts]
        positions = calls_to_run(sizes)
        left_out = [size for i, size in enumerate(sizes) if i not in set(positions)]
        names = ("encoder",) if self.stem is None else ("encoder", "frozen_stem")
        self.counter.add_calls(names, left_out)
        inputs = [self._part(arguments, parts[i]) for i in positions]
        outputs = [checkpoint(self._encode, part, use_reentrant=False) for part in inputs]
        # Checkpoints hold the device's copies of items in host memory until they recompute.
        self.counter.held.append(self._part(arguments, slice(sum(left_out))))
        with self.counter.memory.of(FEATURES), self.counter.dry_run.faking():
            features = pytree.tree_map(partial(_join, sum(left_out)), *outputs)
        return self._in_lead_shape(call, features)

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

        with self.counter.memory.of(ITEMS):
            args, kwargs = pytree.tree_map(take, (arguments.args, arguments.kwargs))
        return args, kwargs

    def _in_lead_shape(self, call: CallArguments, features: Any) -> Any:
        return pytree.tree_map(
            lambda x: x.unflatten(0, call.lead_shape) if isinstance(x, Tensor) else x, features
        )


def _join(left_out: int, *leaves: Any) -> Any:
    """Concatenate the features of micro-batches, and empty ones for the items left out."""
    if not isinstance(leaves[0], Tensor):
        return leaves[0]
    empty = leaves[0].new_empty(left_out, *leaves[0].shape[1:])
    return torch.cat([*leaves, empty])
