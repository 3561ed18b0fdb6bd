"""Normalising stored frames to the colours that an encoder was trained on."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

# Mean and standard deviation of red, green and blue in [0, 255].
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
KINETICS = ((110.2008, 100.63983, 95.99475), (58.14765, 56.46975, 55.332195))


class Normalise(nn.Module):
    """Subtract the mean colour and divide by the standard deviation.

    Args:
        statistics: Mean and standard deviation of each colour.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, statistics: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
        super().__init__()
        for name, values in zip(("mean", "std"), statistics, strict=True):
            # Not saved: published checkpoints do not have them.
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1, 1), persistent=False)

    def forward(
        self, snippets: Shaped[Tensor, "items 3 frames height width"]
    ) -> Float[Tensor, "items 3 frames height width"]:
        """Return floating-point numbers of the module's own precision.

        Raises:
            ValueError: If the shape is not as described.
        """
        if snippets.ndim != 5 or snippets.shape[1] != 3:
            raise ValueError(
                "Normalise(snippets=...): expected shape (items, 3, frames, height, width), got "
                f"{tuple(snippets.shape)}."
            )
        # In place on the new difference: frames are large.
        return (snippets - self.mean).div_(self.std).to(self.mean.dtype)
