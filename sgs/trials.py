"""Micro-batches of the first pass that are encoded once more, to see what features depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
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
from sgs.replay.circumstances import Circumstances, is_compiled
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
        checks_items: Whether an encoder whose items interact is refused.
    """

    def __init__(
        self,
        encoder: nn.Module,
        items: CallArguments,
        stem: FrozenStem | None,
        history: CallHistory,
        circumstances: Circumstances,
        is_allowed: bool,
        checks_items: bool,
    ) -> None:
        self._encoder, self._items, self._stem = encoder, items, stem
        self._history, self._circumstances = history, circumstances
        self._is_allowed, self._checks_items = is_allowed, checks_items
        self._tries_items = self._is_single = False
        self._width = bytes_per_number(circumstances.dtypes)

    def begin(self, micro_batches: Sequence[MicroBatch]) -> None:
        """Look at the micro-batches of the first pass."""
        self._is_single = len(micro_batches) == 1
        has_several = len(micro_batches) > 1 and len(micro_batches[0].index) > 1
        self._tries_items = (
            self._is_allowed
            and self._checks_items
            and has_several
            and not self._history.has_tried_items
        )

    def spare(self, tree: Any) -> Any:
        """Return a copy of tensors if the encoder may be called again with the same micro-batch.

        It may change its arguments in place, and a source is not asked again. It may also return
        the same memory in each call.
        """
        is_needed = self._tries_items or self._is_single or self._circumstances.modules.changed
        return pytree.tree_map_only(Tensor, torch.clone, tree) if is_needed else tree

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
        run = Repeatable(outputs, len(index), again, self._width, self._checks_items)
        modules, values = self._circumstances.modules, self._circumstances.values
        is_first = modules.num_calls == 0
        differs = self._circumstances.after_first(run if self._is_allowed else None)
        if is_first and not self._history.changed.issuperset(names := modules.changed_names()):
            # A first call may set its parameters through .data, which no version tells.
            values.copy()
            self._history.changed.update(names)
            if self._is_single and self._is_allowed:
                modules.as_called_first(run).agrees()
        if self._tries_items and run.can_tell():
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
        end = self._circumstances.random_state()
        outputs, drawn = self._encode(index, fetched, start, items, nullcontext)
        self._circumstances.values.check_copies()
        if outputs is None or not is_constant:
            return None if drawn.drawn_since(end) else outputs
        found = drawn.drawn_since(start)
        if not found:
            return outputs
        # Those of Python and NumPy cannot be replaced, and no operation of a compiled encoder.
        if any(source.is_shared for source in found) or is_compiled(self._encoder):
            return None
        return self._encode(index, fetched, start, items, ConstantRandomNumbers)[0]

    def _encode(
        self,
        index: Tensor,
        fetched: Sequence[Any],
        start: RandomState,
        items: Tensor,
        constants: Callable[[], Any],
    ) -> tuple[list[Any] | None, RandomState]:
        """Return the features of some items, None if the encoder failed, and the state after."""
        fetched = pytree.tree_map(lambda x: x[items.to(x.device)], fetched)
        args, kwargs, _ = self._items.take(index[items], fetched=fetched)
        with torch.no_grad(), start.restored():
            outputs = None
            # The encoder may refuse items in another order, which says nothing.
            with suppress(Exception), constants():
                args, kwargs = run_stem(self._stem, args, kwargs)
                outputs = pytree.tree_leaves(self._encoder(*args, **kwargs))
            return outputs, self._circumstances.random_state()
