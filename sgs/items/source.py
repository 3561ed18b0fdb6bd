"""Items that are fetched one micro-batch at a time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils import _pytree as pytree


@runtime_checkable
class Source(Protocol):
    """Items that need not fit in memory; an argument of the sampler, like a tensor.

    `fetch` runs in a separate thread, one micro-batch ahead of the encoder, and once more for the
    sampled items in the backward. It must return the same rows both times, so draw the parameters
    of an augmentation beforehand. It must not draw from torch's default generator, which both
    threads share.
    """

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def fetch(self, index: Int64[Tensor, " micro_batch"]) -> Any:
        """Return a tensor, or a pytree of them, with one row per item, in host memory.

        Args:
            index: Ascending positions of the items, on the CPU. Micro-batches arrive in order of
                their first item. Those of sampled items span a wider range, because sampled items
                are grouped together.
        """
        ...


class ArraySource:
    """The rows of an array: a tensor in host memory, a NumPy array, a memory map, an HDF5 data set.

    Args:
        array: Has a length, and returns the rows at ascending positions as `array[index]`.

    Example:
        >>> frames = ArraySource(torch.zeros(100, 3, 8, 8, dtype=torch.uint8))
        >>> len(frames), frames.fetch(torch.tensor([3, 5])).shape
        (100, torch.Size([2, 3, 8, 8]))
    """

    def __init__(self, array: Any) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def fetch(self, index: Int64[Tensor, " micro_batch"]) -> Tensor:
        """Return a copy of the rows at `index`."""
        is_tensor = isinstance(self.array, Tensor)
        return torch.as_tensor(self.array[index if is_tensor else index.numpy()])


class SourceBatch:
    """One source per video, all of the same length: items `[B, N]`, for `item_dim=1`.

    Args:
        sources: One per video, at least one.

    Raises:
        ValueError: If there are none, or their lengths differ.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        lengths = sorted({len(source) for source in sources})
        if len(lengths) != 1:
            raise ValueError(
                f"SourceBatch(sources=...): got {len(sources)} source(s) of lengths {lengths}, "
                "expected at least one, all of the same length. Pad the shorter ones."
            )
        self.sources = tuple(sources)
        self.lead_shape = torch.Size([len(sources), *lengths])

    def __len__(self) -> int:
        return self.lead_shape.numel()

    def fetch(self, index: Int64[Tensor, " micro_batch"]) -> Any:
        """Return the rows at some positions; position b * N + i is item i of video b."""
        video, item = torch.unravel_index(index, self.lead_shape)
        parts = [self.sources[b].fetch(item[video == b]) for b in video.unique().tolist()]
        if len(parts) == 1:
            return parts[0]
        return pytree.tree_map(lambda *leaves: torch.cat(leaves), *parts)


def lead_shape_of(source: Source) -> torch.Size:
    """Return the items' dimensions of a source."""
    if isinstance(source, SourceBatch):
        return source.lead_shape
    return torch.Size([len(source)])


def fetch_rows(source: Source, index: Int64[Tensor, " micro_batch"]) -> Any:
    """Fetch some items, and check that there is one row for each.

    Raises:
        RuntimeError: If the source fails; the cause is attached.
        ValueError: If it does not return tensors with one row per item.
    """
    try:
        with torch.no_grad():
            rows = source.fetch(index)
    except Exception as error:
        raise RuntimeError(
            f"{type(source).__name__}.fetch failed for the items {_shown(index)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    leaves = pytree.tree_leaves(rows)
    if not leaves or not all(isinstance(x, Tensor) and x.shape[:1] == index.shape for x in leaves):
        got = [list(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in leaves]
        raise ValueError(
            f"{type(source).__name__}.fetch returned {got} for {len(index)} item(s): expected a "
            "tensor, or a pytree of tensors, with one row per item."
        )
    return rows


def _shown(index: Tensor) -> str:
    return f"{index[:4].tolist()}{' ...' if len(index) > 4 else ''} ({len(index)})"


def prefetched(sources: Sequence[Source], groups: Sequence[Tensor]) -> Generator[list[Any]]:
    """Yield the rows of all sources for each group, and fetch the next group meanwhile.

    Raises:
        RuntimeError: If a source fails; raised when its group is due.
        ValueError: If a source does not return tensors with one row per item.
    """
    if not sources:
        yield from ([] for _ in groups)
        return

    def fetch(index: Tensor) -> list[Any]:
        return [_pinned(fetch_rows(source, index)) for source in sources]

    with ThreadPoolExecutor(1, thread_name_prefix="sgs-fetch") as thread:
        ahead = None
        for index in groups:
            present, ahead = ahead, thread.submit(fetch, index)
            if present is not None:
                yield present.result()
        if ahead is not None:
            yield ahead.result()


def _pinned(rows: Any) -> Any:
    if not torch.cuda.is_available():
        return rows
    return pytree.tree_map(lambda x: x.pin_memory() if x.device.type == "cpu" else x, rows)
