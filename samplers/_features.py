"""The features that feature-guided strategies measure distances and similarities on."""

from jaxtyping import Float64
from torch import Tensor

from samplers.base import AbstractSampler
from samplers.candidates import Candidates


def finite_features(
    sampler: AbstractSampler, candidates: Candidates
) -> Float64[Tensor, "items channels"]:
    """Return the features of the candidates in float64.

    Raises:
        ValueError: If a feature is not finite.
    """
    assert candidates.features is not None  # `requires` has been checked
    features = candidates.features.double()
    bad = (~features.isfinite().all(dim=1)).nonzero()
    if len(bad):
        raise ValueError(
            f"{sampler!r}: expected finite features, got NaN or infinity in {len(bad)} of "
            f"{len(features)} items, the first at position {int(bad[0])}. Similarity to them is "
            "undefined. Look for an overflow (e.g. in float16) in what computed them."
        )
    return features
