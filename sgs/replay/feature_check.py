"""The comparison of the features of both passes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sgs.items.features import is_differentiable
from sgs.replay.interaction import bytes_per_number
from sgs.replay.sameness import absolute_difference

# Keyed by bytes per number. First the largest allowed difference, relative to the largest number of
# a slice: well above the rounding between kernels for different batch sizes (on the CPU at most
# 4e-15, 2e-6 and 0.06), well below the effect of another dropout mask or another input. Then the
# least that a slice counts as, relative to the largest number of all: a channel that is zero
# analytically holds nothing but the rounding of large numbers.
# Coarse: for GPUs, with TF32 and any order of summation, and CPUs with reduced matmul precision.
TOLERANCE = {8: (1e-8, 1e-4), 4: (1e-4, 0.1), 2: (0.1, 0.3), 1: (0.1, 0.3)}
COARSE_TOLERANCE = TOLERANCE | {4: (1e-2, 0.3)}


class FeatureCheck:
    """Compares the re-forwarded features with those of the first pass.

    Slice by slice along each dimension: by item, by channel. One large slice hides no other.

    Args:
        features: The leaves of the first pass, `[num_items, ...]`.
        index: The items to compare. Their features are copied, since a head may change them in
            place.
        num_items: The number of all items.
        tolerance: The largest allowed difference, relative to the largest number of a slice. If
            None, it is chosen by the coarsest of `dtypes` and of the features' dtypes.
        dtypes: The precisions that the encoder computes in.
    """

    def __init__(
        self,
        features: Sequence[Any],
        index: Int64[Tensor, " sampled"],
        *,
        num_items: int,
        tolerance: float | None,
        dtypes: Collection[torch.dtype],
    ) -> None:
        self._row = torch.full((num_items,), -1, device="cpu")
        self._row[index] = torch.arange(len(index), device="cpu")
        leaves = {i: x.detach() for i, x in enumerate(features) if _is_comparable(x)}
        rows = {i: x[index.to(x.device)] for i, x in leaves.items()}
        on_cpu = all(x.device.type == "cpu" for x in rows.values())
        is_precise = on_cpu and torch.get_float32_matmul_precision() == "highest"
        width = bytes_per_number({*dtypes, *(x.dtype for x in rows.values())})
        chosen, self._smallest = (TOLERANCE if is_precise else COARSE_TOLERANCE)[width]
        self._tolerance = chosen if tolerance is None else tolerance
        # The features of each leaf by its number, and what differences in them are relative to.
        self._leaves = {i: (x, _scales(x, smallest=self._smallest)) for i, x in rows.items()}

    def difference(self, index: Tensor, outputs: Sequence[Any]) -> Float[Tensor, ""]:
        """Return how far a micro-batch is from the first pass. `verify` reads it: a GPU may run on.

        Args:
            index: Its items.
            outputs: Their features in the second pass.
        """
        row = self._row[index]
        known = (row >= 0).nonzero()[:, 0]
        found = [torch.zeros((), dtype=torch.float64, device="cpu")]
        for i, (rows, scales) in self._leaves.items():
            place, taken = row[known].to(rows.device), known.to(rows.device)
            first, second = rows[place], outputs[i].detach()[taken]
            # Nearly always so on a CPU, where it takes a fifth of the time to see it.
            if second.device.type != "cpu" or not torch.equal(first, second):
                found.append(_difference(second, first, [scales[0][place], *scales[1:]]))
        return torch.stack([x.to(found[-1].device) for x in found]).max()

    def verify(
        self,
        compared: Sequence[tuple[Any, Tensor]],
        *,
        replay: Callable[[Any], Sequence[Any]] | None,
    ) -> None:
        """Refuse gradients whose features differ from those of the loss.

        Args:
            compared: The micro-batches and their differences.
            replay: Encodes a micro-batch once more, without a graph, to find the cause. None if
                that is not possible.

        Raises:
            RuntimeError: If a difference exceeds the tolerance.
        """
        found = torch.stack([x for _, x in compared]).tolist() if compared else []
        worst = max(found, default=0.0)
        if worst > self._tolerance:
            micro_batch = compared[found.index(worst)][0]
            cause = _CAUSES if replay is None else self._cause(micro_batch, replay)
            raise RuntimeError(
                f"the second pass computed other features than the first one: they differ by "
                f"{worst:.1e} of the largest number of an item or a channel, more than "
                f"{self._tolerance:.0e}, so the gradients would be wrong. {cause} If the "
                "difference is intended, pass check_replay=False, or a larger tolerance as "
                "check_replay."
            )

    def _cause(self, micro_batch: Any, replay: Callable[[Any], Sequence[Any]]) -> str:
        third, fourth = replay(micro_batch), replay(micro_batch)
        pairs = [(fourth[i], third[i]) for i in self._leaves]
        found = [_difference(a, b, _scales(b, smallest=self._smallest)) for a, b in pairs]
        if max(map(float, found)) > self._tolerance:
            return _UNSEEN_RANDOMNESS
        from_first = self.difference(micro_batch.index, third)
        return _CHANGED if float(from_first) > self._tolerance else _DEPENDS_ON_GRAD_MODE


_UNSEEN_RANDOMNESS = (
    "Two more runs from the same random state differ from each other too. The encoder draws from a "
    "source of randomness that is not replayed (replayed are the default generators of torch, "
    "Python and NumPy, and those held as attributes of modules), or keeps a state that is neither "
    "a buffer nor an attribute of a module, or changes its own weights through .data."
)
_DEPENDS_ON_GRAD_MODE = (
    "Without gradients the features equal those of the first pass. The encoder computes something "
    "else with gradients, e.g. because it reads torch.is_grad_enabled() or is compiled."
)
_CHANGED = (
    "Two more runs agree with each other, so something changed after the first pass, without a "
    "version count. Likely causes: weights or other tensors edited through .data, items in memory "
    "shared with NumPy, decoding or augmentation that ran again, another autocast or backend "
    "setting, state in objects that modules hold, or that goes on from one micro-batch to another."
)
_CAUSES = (
    "Likely causes: randomness that is not replayed, weights edited through .data, items that were "
    "decoded or augmented again, another autocast setting."
)


def _difference(got: Tensor, expected: Tensor, scales: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Return the largest difference of a leaf, relative to the scales of its slices."""
    largest = _largest_by_slice(absolute_difference(got, expected))
    return torch.cat([x / scale for x, scale in zip(largest, scales, strict=True)]).max().double()


def _is_comparable(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and is_differentiable(leaf) and leaf.numel() > 0


def _scales(rows: Tensor, *, smallest: float) -> list[Tensor]:
    """Return what the differences in each slice are relative to, for each dimension."""
    sizes = torch.where(rows.isfinite(), rows.abs(), 0)
    least = (sizes.max() * smallest).clamp(min=torch.finfo(rows.dtype).tiny)
    return [x.maximum(least) for x in _largest_by_slice(sizes)]


def _largest_by_slice(sizes: Tensor) -> list[Tensor]:
    """Return the largest number at each position of each dimension, one vector per dimension."""
    others = [[x for x in range(sizes.ndim) if x != dim] for dim in range(sizes.ndim)]
    return [sizes.amax(dim=dims) if dims else sizes for dims in others]
