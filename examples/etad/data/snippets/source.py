"""The snippets of one video, cut out on request."""

from dataclasses import dataclass

from jaxtyping import Int64, UInt8
from torch import Tensor

from examples.etad.data.snippets.augmentation import View
from examples.etad.data.snippets.reader import Clip


@dataclass(frozen=True, eq=False)
class SnippetSource:
    """A source for the sampler; there is never a tensor of all snippets.

    The view is fixed, so a snippet has the same pixels when it is fetched again.

    Args:
        clip: The frames.
        view: The crop that the encoder sees.
    """

    clip: Clip
    view: View

    def __len__(self) -> int:
        return len(self.clip.index)

    def fetch(
        self, index: Int64[Tensor, " micro_batch"]
    ) -> UInt8[Tensor, "micro_batch channels frames height width"]:
        """Return some snippets.

        Raises:
            ValueError: If a frame cannot be decoded.
        """
        position = self.clip.index[index]
        frames = self.view.apply(self.clip.pixels[position.flatten()])
        snippets: Tensor = frames.unflatten(0, position.shape)
        return snippets.transpose(1, 2).contiguous()
