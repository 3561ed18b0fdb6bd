"""Whether the features of an item depend on the other items of its micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sgs.replay.sameness import absolute_difference, are_equal

# Keyed by bytes per number. The same kernels run on the same shapes, so that only other items or
# the order of atomic additions make a difference.
TOLERANCE = {8: 1e-9, 4: 1e-4, 2: 0.03, 1: 0.1}


def bytes_per_number(dtypes: Iterable[torch.dtype]) -> int:
    """Return the width of the coarsest of some dtypes; that of float64 if none is for features."""
    widths = [d.to_real().itemsize for d in dtypes if d.is_floating_point or d.is_complex]
    return min(widths, default=8)


INTERACT = (
    "the features of an item change with the other items of its micro-batch, so items interact{}, "
    "and the result differs from that of one call. Likely causes: batch normalisation that is no "
    "nn.BatchNorm layer (let it use its running statistics), statistics that the first items set "
    "(call the encoder on some items before), layers that read the first dimension as time "
    "(batch_first=True), an output whose first dimension does not index items. If that is intended,"
    " pass check_replay=False."
)
NO_ITEMS = (
    "the encoder returned a tensor of shape {} for {} items and for one less: expected one row per "
    "item. What does not depend on the items would be repeated for each micro-batch: return it "
    "from a module outside of the sampler."
)


@dataclass(frozen=True)
class Repeatable:
    """A micro-batch that was just encoded, and may be encoded again.

    Attributes:
        outputs: Its features.
        num_items: The number of its items.
        again: Encodes the items at some positions of the micro-batch, without a graph, and with the
            same random numbers or, if the second argument is True, constants in their place. None
            if it failed, or drew more or fewer random numbers.
        width: Bytes per number of the precision that the encoder computes in.
        checks_items: Whether an encoder whose items interact is refused.
    """

    outputs: Sequence[Any]
    num_items: int
    again: Callable[[Tensor, bool], Sequence[Any] | None]
    width: int
    checks_items: bool

    def can_tell(self) -> bool:
        """Tell whether it would be seen if items interact."""
        half = self.num_items // 2
        rows = [x for x in self.outputs if self._has_rows(x)]
        differ = [not are_equal(x[:half], x[self.num_items - half :]) for x in rows]
        return self.checks_items and half > 0 and any(differ)

    def agrees(self) -> bool:
        """Tell whether the same items give the same features again.

        To the last digit on the CPU, where kernels are deterministic, unless the first run had a
        graph, for which there may be other kernels.
        """
        others = self.again(torch.arange(self.num_items, device="cpu"), False)
        pairs = zip(self.outputs, others or (), strict=others is not None)
        tensors = [(a, b) for a, b in pairs if isinstance(a, Tensor)]
        return others is not None and all(
            are_equal(a, b)
            or ((a.device.type != "cpu" or a.requires_grad) and are_close(b, a, self.width))
            for a, b in tensors
        )

    def interaction(self, through: Collection[str] = ()) -> RuntimeError | ValueError | None:
        """Encode the micro-batch again, with other items in its first half, then in its second.

        The features of the other half must stay, and those of this half must follow the items.

        Args:
            through: Names of the state that micro-batches changed differently.

        Returns:
            An error, if the features of an item change with the other items, or an output does not
            change with the number of items.
        """
        half = self.num_items // 2
        same = torch.arange(self.num_items, device="cpu")
        first, last = same[:half], same[self.num_items - half :]
        for part, others in ((first, last), (last, first)):
            order = same.clone()
            order[part] = others
            found = self.again(order, False)
            pairs = self._pairs(self.outputs, found)
            if self._differ(pairs, same[order == same]) and self.agrees():
                # Random numbers may have gone to other items, e.g. after items were sorted.
                constant = self._pairs(self.again(same, True), self.again(order, True))
                if self._differ(constant, same[order == same]):
                    return RuntimeError(
                        INTERACT.format(f" through {[*through][:3]}" * bool(through))
                    )
            if half and any(are_equal(a[part], b[part]) for a, b in pairs):
                for fewer in filter(self._has_rows, self.again(same[1:], False) or ()):
                    return ValueError(NO_ITEMS.format([*fewer.shape], self.num_items))
        return None

    def _pairs(self, a: Sequence[Any] | None, b: Sequence[Any] | None) -> list[tuple[Any, Any]]:
        found = zip(a or (), b or (), strict=False)
        return [(x, y) for x, y in found if self._has_rows(x) and x.shape == y.shape]

    def _differ(self, pairs: list[tuple[Any, Any]], rows: Tensor) -> bool:
        return any(not are_close(b[rows], a[rows], self.width) for a, b in pairs)

    def _has_rows(self, output: Any) -> bool:
        return isinstance(output, Tensor) and output.shape[:1] == (self.num_items,)


def are_close(a: Any, b: Tensor, width: int) -> bool:
    """Tell whether a value is a tensor nearly equal to another one."""
    if not isinstance(a, Tensor) or a.shape != b.shape or a.dtype != b.dtype:
        return False
    if are_equal(a, b) or not a.is_floating_point() or a.numel() == 0:
        return are_equal(a, b)
    # By channel: a large one must not hide the others. The same kernels ran, so that noise is rare.
    sizes = torch.where(b.isfinite(), b.abs(), 0).flatten(0, max(b.ndim - 2, 0))
    scale = sizes.amax(0) if b.ndim > 1 else sizes.amax()
    scale = scale.maximum(1e-6 * sizes.amax()).clamp(min=torch.finfo(b.dtype).tiny)
    return bool((absolute_difference(a, b) <= TOLERANCE[width] * scale).all())
