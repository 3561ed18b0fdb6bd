"""The sampling strategies by the names that the settings use."""

from samplers import (
    DPP,
    AbstractSampler,
    Block,
    FarthestPoint,
    GradientNorm,
    Grid,
    IoUBalanced,
    Random,
    ScaleBalanced,
)

STRATEGIES: dict[str, AbstractSampler] = {
    "random": Random(),
    "grid": Grid(),
    "block": Block(),
    "farthest_point": FarthestPoint(),
    "dpp": DPP(),
    "gradient_norm": GradientNorm(),
    "iou_balanced": IoUBalanced(),
    "scale_balanced": ScaleBalanced(),
}


def build_strategy(name: str) -> AbstractSampler:
    """Return the strategy of this name.

    Raises:
        ValueError: If there is none.
    """
    if name not in STRATEGIES:
        raise ValueError(f"sampler={name!r}: expected one of {sorted(STRATEGIES)}.")
    return STRATEGIES[name]
