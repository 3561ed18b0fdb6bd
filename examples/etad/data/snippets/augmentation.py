"""Augmentation drawn once per video and epoch."""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from examples.etad.data.rendered.random_numbers import derived_generator


@dataclass(frozen=True)
class Augmentation:
    """The random changes of each epoch.

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
        """Crop every frame, and mirror it if the view is mirrored."""
        rows = slice(self.top, self.top + self.size)
        columns = slice(self.left, self.left + self.size)
        view = frames[:, :, rows, columns]
        return view.flip(-1) if self.is_flipped else view


def centre_view(resize_size: tuple[int, int], *, size: int) -> View:
    """Return the centre crop, as in evaluation."""
    height, width = resize_size
    return View((height - size) // 2, (width - size) // 2, size, is_flipped=False)


def draw_view(
    augmentation: Augmentation, *, epoch: int, item: int, resize_size: tuple[int, int], size: int
) -> View:
    """Return the view of one video in one epoch.

    It depends on the arguments only, not on the number of workers or their order, so a resumed run
    has the same views as an uninterrupted one.

    Args:
        augmentation: Which changes to draw.
        epoch: Epoch of training.
        item: Position of the video in the data set.
        resize_size: (height, width) of the frames.
        size: Side of the crop.
    """
    generator = derived_generator((augmentation.seed, epoch, item))
    # Always draw all three, so that one option does not change the draws of the others.
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
