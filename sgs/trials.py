"""Micro-batches of the first pass that are encoded once more, to see what features depend on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sgs.call_history import CallHistory
from sgs.items.arguments import CallArguments
from sgs.items.frozen_stem import FrozenStem, run_stem
from sgs.micro_batches import MicroBatch
from sgs.replay.circumstances import Circumstances
from sgs.replay.interaction import Repeatable, bytes_per_number
from sgs.replay.random_numbers import ConstantRandomNumbers, RandomState


class Trials:
    """Encodes a micro-batch again in two cases.

    In the first call of a sampler with several micro-batches, to see whether items interact; and
    where micro-batches change the state of modules differently, see NOTE [ State of modules ].

    Args:
        encoder: The encoder.
        items: The arguments of the call.
        stem: The frozen layers in front of the encoder, if any.
        history: What the sampler remembers of its calls.
        circumstances: The state at the time of the call.
        is_allowed: Whether this process may call the encoder more often than others do.
    """

    def __init__(
        self,
        encoder: nn.Module,
        items: CallArguments,
        stem: FrozenStem | None,
        history: CallHistory,
        circumstances: Circumstances,
        *,
        is_allowed: bool,
    ) -> None:
        self._encoder, self._items, self._stem = encoder, items, stem
        self._history, self._circumstances = history, circumstances
        self._is_allowed = is_allowed
        self._tries_items = self._is_single = False

    def begin(self, micro_batches: Sequence[MicroBatch]) -> None:
        """Look at the micro-batches of the first pass."""
        self._is_single = len(micro_batches) == 1
        has_several = len(micro_batches) > 1 and len(micro_batches[0].index) > 1
        self._tries_items = self._is_allowed and has_several and not self._history.has_tried_items

    def spare(self, fetched: list[Any]) -> list[Any]:
        """Return a copy of fetched rows if they may be needed again.

        The encoder may change its arguments in place, and a source is not asked again.
        """
        is_needed = self._tries_items or self._circumstances.modules.changed
        return pytree.tree_map(torch.clone, fetched) if is_needed else fetched

    def differs(
        self,
        index: Int64[Tensor, " micro_batch"],
        fetched: Sequence[Any],
        start: RandomState,
        outputs: Sequence[Any],
    ) -> bool:
        """Tell whether a micro-batch left something else on modules than the one before.

        Args:
            index: Its items.
            fetched: The rows of its sources.
            start: The random state before it.
            outputs: Its features.

        Raises:
            RuntimeError: If items interact, or the encoder changed what cannot be replayed.
            ValueError: If an output holds no items.
        """
        again = partial(self._again, index, fetched, start)
        width = bytes_per_number(self._circumstances.dtypes)
        run = Repeatable(outputs, len(index), again, width)
        modules, values = self._circumstances.modules, self._circumstances.values
        is_first = modules.num_calls == 0
        differs = self._circumstances.after_first(run if self._is_allowed else None)
        if is_first and not self._history.changed.issuperset(names := modules.names()):
            # A first call may set its parameters through .data, which no version tells.
            values.copy()
            self._history.changed.update(names)
            if self._is_single and self._is_allowed:
                modules.as_called_first(run).agrees()
        if self._tries_items:
            modules.refuse_interaction(run)
            self._tries_items, self._history.has_tried_items = False, True
        return differs

    def _again(
        self,
        index: Tensor,
        fetched: Sequence[Any],
        start: RandomState,
        items: Tensor,
        is_constant: bool,
    ) -> list[Any] | None:
        """Encode some items of a micro-batch again, see `Repeatable.again`."""
        fetched = pytree.tree_map(lambda x: x[items.to(x.device)], fetched)
        args, kwargs, _ = self._items.take(index[items], fetched=fetched)
        end = self._circumstances.random_state()
        constants: Any = ConstantRandomNumbers if is_constant else nullcontext
        with torch.no_grad(), start.restored(), constants():
            try:
                args, kwargs = run_stem(self._stem, args, kwargs)
                outputs = self._encoder(*args, **kwargs)
            except Exception:
                # The encoder may refuse items in another order, which says nothing.
                return None
            drew_others = end.without_undrawn()[1]
        self._circumstances.values.check_copies()
        return None if drew_others and not is_constant else pytree.tree_leaves(outputs)
