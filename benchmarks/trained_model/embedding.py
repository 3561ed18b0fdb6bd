"""Features as points in a plane, for pictures."""

import torch
from jaxtyping import Float
from sklearn.manifold import TSNE  # type: ignore[import-untyped]
from torch import Tensor

# With 64 snippets of a video the default of 30 would make half of them each other's neighbours.
PERPLEXITY = 10
SEED = 0


def embed(features: Float[Tensor, "items channels"]) -> Float[Tensor, "items 2"]:
    """Return the t-SNE of the features, the same in every run."""
    tsne = TSNE(perplexity=PERPLEXITY, init="pca", random_state=SEED)
    return torch.from_numpy(tsne.fit_transform(features.double().numpy()))
