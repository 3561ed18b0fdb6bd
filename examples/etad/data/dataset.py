"""Untrimmed videos as snippets of frames with their action instances."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info
from tqdm import tqdm

from examples.etad.data.annotations.activitynet import VideoAnnotation
from examples.etad.data.snippets.augmentation import Augmentation, View, centre_view, draw_view
from examples.etad.data.snippets.reader import Clip, ClipReader
from examples.etad.data.snippets.source import SnippetSource
from sgs import SourceBatch


class Item(TypedDict):
    """One video; segments are normalised to [0, 1] by its duration."""

    frames: SnippetSource
    gt_segments: Float[Tensor, "instances 2"]
    gt_labels: Int[Tensor, " instances"]
    video_id: str
    duration_s: float


class Batch(TypedDict):
    """Several videos; values of different sizes are in lists."""

    frames: SourceBatch
    gt_segments: list[Float[Tensor, "instances 2"]]
    gt_labels: list[Int[Tensor, " instances"]]
    video_id: list[str]
    duration_s: Float[Tensor, " batch"]


class VideoDataset(Dataset[Item]):
    """Videos as sources of snippets: uint8 frames that stay on the host.

    With a cache, frames are decoded once; in worker processes, video by video; otherwise while the
    encoder runs on the first snippets. The encoder normalises them.

    Args:
        annotations: The videos.
        num_snippets: Snippets per video (N), at least 1.
        frames_per_snippet: Frames per snippet (T), at least 1.
        frame_size: Height and width of the crop that the encoder sees, in pixels.
        classes: Names of all classes; a label is the position of its name.
        resize_size: (height, width) to which frames are scaled before the crop; `frame_size` for
            both, which leaves no choice of crop, if None.
        frame_stride: Distance of neighbouring frames of a snippet, at least 1. For an encoder
            trained at 15 frames per second, use 2 on videos of 30.
        placement: Which frames make up a snippet; one of `PLACEMENTS`.
        augmentation: Random changes of each epoch; the centre crop if None.
        cache: Keep scaled frames in memory, `cache_bytes` in all. Each worker process has its own
            cache, unless `preload` filled this one before the workers started.
        duration_tolerance: Largest difference between the duration of a file and that of its
            annotation, as a fraction of the latter; infinity switches the check off.

    Raises:
        ValueError: If an argument is out of its range, or an instance has an unknown label.
    """

    def __init__(
        self,
        annotations: Sequence[VideoAnnotation],
        *,
        num_snippets: int,
        frames_per_snippet: int,
        frame_size: int,
        classes: Sequence[str],
        resize_size: tuple[int, int] | None = None,
        frame_stride: int = 1,
        placement: str = "centred",
        augmentation: Augmentation | None = None,
        cache: bool = False,
        duration_tolerance: float = 0.05,
    ) -> None:
        size = _check_size(frame_size, resize_size or (frame_size, frame_size))
        self.annotations, self.augmentation = tuple(annotations), augmentation
        self.frame_size, self.resize_size = frame_size, size
        self._labels = _number_labels(self.annotations, tuple(classes))
        self._reader = ClipReader(
            num_snippets=num_snippets,
            frames_per_snippet=frames_per_snippet,
            frame_stride=frame_stride,
            placement=placement,
            size=size,
            duration_tolerance=duration_tolerance,
        )
        self._cache: dict[int, Clip] | None = {} if cache else None
        # In shared memory, because persistent workers must see the next epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, item: int) -> Item:
        item = range(len(self))[item]
        annotation = self.annotations[item]
        segments_s = torch.tensor(annotation.segments_s, dtype=torch.float64).view(-1, 2)
        return Item(
            frames=SnippetSource(self._clip(item), self._view(item)),
            gt_segments=(segments_s / annotation.duration_s).clamp(0, 1).float(),
            gt_labels=torch.tensor(self._labels[item], dtype=torch.int64),
            video_id=annotation.video_id,
            duration_s=annotation.duration_s,
        )

    @property
    def cache_bytes(self) -> int:
        """Bytes of host memory in the cache of this process."""
        pixels = [clip.pixels for clip in (self._cache or {}).values()]
        return sum(x.nbytes for x in pixels if isinstance(x, Tensor))

    def set_epoch(self, epoch: int) -> None:
        """Choose the augmentation of an epoch, for running workers too."""
        self._epoch.fill_(epoch)

    def preload(self, *, progress: bool = True) -> None:
        """Decode all videos into the cache; workers that start afterwards share it.

        Raises:
            ValueError: If the data set has no cache, or a video cannot be decoded.
        """
        if self._cache is None:
            raise ValueError(
                "VideoDataset(cache=False): expected a cache to preload, got none. Pass cache=True."
            )
        for item in tqdm(range(len(self)), desc="decode", unit="video", disable=not progress):
            self._clip(item)

    def _clip(self, item: int) -> Clip:
        if self._cache is None:
            # A decoder cannot be sent to another process.
            on_demand = get_worker_info() is None
            return self._reader.read_annotated(self.annotations[item], on_demand=on_demand)
        if item not in self._cache:
            self._cache[item] = self._reader.read_annotated(self.annotations[item])
        return self._cache[item]

    def _view(self, item: int) -> View:
        if self.augmentation is None:
            return centre_view(self.resize_size, size=self.frame_size)
        return draw_view(
            self.augmentation,
            epoch=int(self._epoch),
            item=item,
            resize_size=self.resize_size,
            size=self.frame_size,
        )


def collate(items: Sequence[Item]) -> Batch:
    """Join videos into a batch."""
    return Batch(
        frames=SourceBatch([item["frames"] for item in items]),
        gt_segments=[item["gt_segments"] for item in items],
        gt_labels=[item["gt_labels"] for item in items],
        video_id=[item["video_id"] for item in items],
        duration_s=torch.tensor([item["duration_s"] for item in items], dtype=torch.float64),
    )


def _check_size(frame_size: int, resize_size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the scaled frames; the crop must fit into it."""
    if not 1 <= frame_size <= min(resize_size):
        raise ValueError(
            f"VideoDataset(frame_size={frame_size}): expected a crop of at least one pixel that "
            f"fits into frames of resize_size={resize_size}."
        )
    return resize_size


def _number_labels(
    annotations: Sequence[VideoAnnotation], classes: tuple[str, ...]
) -> list[list[int]]:
    """Return the class numbers of the instances of each video."""
    if len(set(classes)) < len(classes):
        raise ValueError(f"VideoDataset(classes={classes}): expected distinct names.")
    unknown = sorted({label for a in annotations for label in a.labels} - set(classes))
    if unknown:
        raise ValueError(
            f"VideoDataset(classes={classes}): expected every label of the annotations, missing "
            f"{', '.join(map(repr, unknown))}. Pass class_names(json_path)."
        )
    return [[classes.index(label) for label in a.labels] for a in annotations]
