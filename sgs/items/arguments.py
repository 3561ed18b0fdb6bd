"""The arguments of one call, cut into micro-batches."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils import _pytree as pytree

from sgs.items.argument_checks import refuse_hidden_items, refuse_lists_of_constants
from sgs.items.shared import Shared
from sgs.items.source import Source, fetch_rows, lead_shape_of, prefetched


class CallArguments:
    """A call `encoder(*args, **kwargs)` whose tensors and sources hold one entry per item.

    An item's position counts over all videos: item i of video b has position b * N + i.

    Args:
        args: Positional arguments, pytrees of tensors, sources, `Shared` and constants.
        kwargs: Keyword arguments of the same kinds.
        item_dim: The dimension that indexes items.
        device: The device to copy fetched items to; None to leave them where they are.

    Raises:
        TypeError: If tensors are hidden in an argument, e.g. in a dataclass, or an argument is a
            NumPy array, a nested tensor or a list of as many constants as there are items.
        ValueError: If there is no tensor to cut, or the tensors disagree on their leading
            dimensions.
    """

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        item_dim: int,
        device: torch.device | None = None,
    ) -> None:
        self._device = device
        self._leaves, self._structure = pytree.tree_flatten((args, kwargs))
        for leaf in self._leaves:
            refuse_hidden_items(leaf)
        self._item_positions = [i for i, x in enumerate(self._leaves) if isinstance(x, Tensor)]
        self._source_positions = [i for i, x in enumerate(self._leaves) if isinstance(x, Source)]
        self.lead_shape = self._common_lead_shape(item_dim)
        self.num_items = math.prod(self.lead_shape)
        refuse_lists_of_constants((args, kwargs), self.num_items)
        self._requiring_gradient = {id(t) for t in self.tensors if t.requires_grad}
        self._rows = [self._rows_of(tensor.detach()) for tensor in self.item_tensors]

    def _common_lead_shape(self, item_dim: int) -> torch.Size:
        shapes = [tensor.shape for tensor in self.item_tensors]
        shapes += [lead_shape_of(source) for source in self.sources]
        if not shapes:
            raise ValueError(
                "the arguments hold no tensor of items: expected at least one tensor, or a pytree "
                "of them, with one entry per item; or a source."
            )
        leads = {tuple(shape[: item_dim + 1]) for shape in shapes}
        if len(leads) > 1 or len(shapes[0]) <= item_dim:
            raise ValueError(
                f"arguments of shapes {[list(shape) for shape in shapes]} (item_dim={item_dim}): "
                f"expected the same first {item_dim + 1} dimension(s) in every tensor, since each "
                "is cut into micro-batches. Wrap what all items share in Shared(...), and several "
                "videos' sources in SourceBatch([...])."
            )
        return torch.Size(leads.pop())

    def needs_gradient(self, tensor: Tensor) -> bool:
        """Tell whether a tensor of the call required a gradient at the time of the call."""
        return id(tensor) in self._requiring_gradient

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors of the call: the item tensors, then the shared ones."""
        return [*self.item_tensors, *self.shared_tensors]

    @property
    def item_tensors(self) -> list[Tensor]:
        """The tensors with one entry per item, which are cut into micro-batches."""
        return [self._leaves[i] for i in self._item_positions]

    @property
    def device_type(self) -> str:
        """The type of the encoder's device."""
        return "cpu" if self._device is None else self._device.type

    @property
    def sources(self) -> list[Source]:
        """The sources, fetched one micro-batch at a time."""
        return [self._leaves[i] for i in self._source_positions]

    @property
    def shared_tensors(self) -> list[Tensor]:
        """The tensors passed whole to every micro-batch."""
        leaves = [leaf.value for leaf in self._leaves if isinstance(leaf, Shared)]
        return [x for x in pytree.tree_leaves(leaves) if isinstance(x, Tensor)]

    def prefetched(self, groups: Sequence[Tensor]) -> Generator[list[Any]]:
        """Yield the fetched rows of all sources for each group, while the next group is fetched.

        Raises:
            RuntimeError: If a source fails.
            ValueError: If a source does not return one row per item.
        """
        return prefetched(self.sources, groups)

    def take(
        self,
        index: Int64[Tensor, " micro_batch"],
        *,
        fetched: Sequence[Any] | None = None,
        shared: Sequence[Tensor] | None = None,
    ) -> tuple[tuple[Any, ...], dict[str, Any], list[Tensor]]:
        """Return the arguments for some items, outside of any graph.

        Args:
            index: Positions of the items.
            fetched: The rows of the sources; fetched now if None.
            shared: Tensors to pass in place of `shared_tensors`; those themselves if None.

        Returns:
            Arguments, keyword arguments, and the rows of each of `item_tensors`, as a leaf tensor
            that requires a gradient if the whole tensor does.
        """
        cuts = [
            self._cut(tensor, rows, index)
            for tensor, rows in zip(self.item_tensors, self._rows, strict=True)
        ]
        leaves = list(self._leaves)
        for position, cut in zip(self._item_positions, cuts, strict=True):
            # The encoder may change its arguments in place, which leaves that train forbid.
            leaves[position] = cut.clone() if cut.requires_grad else cut
        if fetched is None:
            fetched = [fetch_rows(source, index) for source in self.sources]
        for position, rows in zip(self._source_positions, fetched, strict=True):
            leaves[position] = self.on_device(rows)
        substitutes = iter(self.shared_tensors if shared is None else shared)
        leaves = [_unwrap(leaf, substitutes) for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self._structure)
        return args, kwargs, cuts

    def on_device(self, fetched: Any) -> Any:
        """Copy fetched rows to the device of the encoder."""
        if self._device is None:
            return fetched
        return pytree.tree_map(lambda x: x.to(self._device, non_blocking=True), fetched)

    def _rows_of(self, tensor: Tensor) -> Tensor | None:
        """Return a view with one row per item; None if the memory layout does not allow it."""
        try:
            return tensor.view(self.num_items, *tensor.shape[len(self.lead_shape) :])
        except RuntimeError:
            return None

    def _cut(self, tensor: Tensor, rows: Tensor | None, index: Tensor) -> Tensor:
        if rows is None:
            cut = tensor.detach()[self.position(index, tensor.device)]
        else:
            # Ten times faster than subscripts for uint8: it copies whole rows.
            cut = rows.index_select(0, index.to(tensor.device))
        return cut.requires_grad_(self.needs_gradient(tensor))

    def rows(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the call reshaped to one row per item."""
        return tensor.reshape(self.num_items, *tensor.shape[len(self.lead_shape) :])

    def position(self, index: Tensor, device: torch.device) -> tuple[Tensor, ...]:
        """Return the subscripts of positions in a tensor of the call."""
        return torch.unravel_index(index.to(device), self.lead_shape)


def _unwrap(leaf: Any, substitutes: Any) -> Any:
    if not isinstance(leaf, Shared):
        return leaf
    return pytree.tree_map(lambda x: next(substitutes) if isinstance(x, Tensor) else x, leaf.value)
