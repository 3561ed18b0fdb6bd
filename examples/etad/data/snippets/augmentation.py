"""Augmentation drawn once per video and epoch."""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from examples.etad.data.rendered.random_numbers import derived_generator


@dataclass(frozen=True)
class Augmentation:
    """What may change from epoch to epoch.

    Args:
        seed: Start of the random stream.
        random_crop: Crop at a random place; else in the centre.
        horizontal_flip: Mirror every other video on average. Leave it off where classes differ in
            direction: it turns left into right, and clockwise into counter-clockwise.
    """

    seed: int = 0
    random_crop: bool = True
    horizontal_flip: bool = False


@dataclass(frozen=True)
class View:
    """A square crop of all frames of a video, and whether it is mirrored."""

    top: int
    left: int
    size: int
    is_flipped: bool

    def apply(
        self, frames: UInt8[Tensor, "frames channels height width"]
    ) -> UInt8[Tensor, "frames channels size size"]:
        """Cut this view out of every frame."""
        rows = slice(self.top, self.top + self.size)
        columns = slice(self.left, self.left + self.size)
        view = frames[:, :, rows, columns]
        return view.flip(-1) if self.is_flipped else view


def centre_view(resize_size: tuple[int, int], *, size: int) -> View:
    """Return the view of evaluation."""
    height, width = resize_size
    return View((height - size) // 2, (width - size) // 2, size, is_flipped=False)


def draw_view(
    augmentation: Augmentation, *, epoch: int, item: int, resize_size: tuple[int, int], size: int
) -> View:
    """Return the view of one video in one epoch.

    A function of its arguments only: neither the number of workers nor the order in which they load
    changes it, and a resumed run sees what an uninterrupted one does.

    Args:
        augmentation: What may change.
        epoch: Epoch of training.
        item: Position of the video in the data set.
        resize_size: (height, width) of the frames.
        size: Side of the crop.
    """
    generator = derived_generator((augmentation.seed, epoch, item))
    # Always all three draws: switching one option on leaves the others as they were.
    height, width = resize_size
    top = int(torch.randint(height - size + 1, (), generator=generator))
    left = int(torch.randint(width - size + 1, (), generator=generator))
    is_flipped = bool(torch.rand((), generator=generator) < 0.5)
    centre = centre_view(resize_size, size=size)
    return View(
        top if augmentation.random_crop else centre.top,
        left if augmentation.random_crop else centre.left,
        size,
        is_flipped=is_flipped and augmentation.horizontal_flip,
    )
