"""What `SequentialGradientSampler` refuses before any work is done."""

import torch
from torch import nn

from samplers import AbstractSampler

WEIGHTS = ("inverse_probability", "none")


def validate_encoder(encoder: nn.Module) -> None:
    """Refuse what is no encoder, or synchronises gradients by itself.

    Raises:
        TypeError: If the encoder is no module, or wrapped in `DistributedDataParallel`, or a part
            of it is.
    """
    if not isinstance(encoder, nn.Module):
        raise TypeError(
            f"SequentialGradientSampler(encoder={type(encoder).__name__}): expected an nn.Module, "
            "since its parameters get the gradients."
        )
    if any(isinstance(m, nn.parallel.DistributedDataParallel) for m in encoder.modules()):
        raise TypeError(
            "SequentialGradientSampler(encoder=DistributedDataParallel): expected the bare encoder."
            " DDP would reduce the gradients once per micro-batch. Wrap the encoder first, and the"
            " whole model in DDP afterwards."
        )


def validate_sizes(**sizes: int | None) -> None:
    """Refuse micro-batches of less than one item.

    Raises:
        ValueError: If a size is given and is no integer of at least 1.
    """
    for name, size in sizes.items():
        if size is not None and (not isinstance(size, int) or size < 1):
            raise ValueError(
                f"SequentialGradientSampler({name}={size!r}): expected an integer of at least 1: "
                "the number of items that the encoder sees at once."
            )


def validate_sampling(sampler: AbstractSampler, *, ratio: float, weights: str) -> None:
    """Refuse a subset that cannot be drawn or weighted.

    Raises:
        TypeError: If `sampler` is no `AbstractSampler`.
        ValueError: If `ratio` is outside (0, 1], `weights` is unknown, the strategy needs labels,
            or the weights need an inclusion probability that the strategy does not have.
    """
    if not isinstance(ratio, int | float) or not 0 < ratio <= 1:
        raise ValueError(
            f"SequentialGradientSampler(ratio={ratio!r}): expected a value in (0, 1], got "
            f"{ratio!r}. To train only what follows, freeze the encoder with requires_grad_(False)."
        )
    if weights not in WEIGHTS:
        raise ValueError(
            f"SequentialGradientSampler(weights={weights!r}): expected one of {WEIGHTS}."
        )
    if not isinstance(sampler, AbstractSampler):
        raise TypeError(
            f"SequentialGradientSampler(sampler={sampler!r}): expected a strategy object such as "
            "samplers.Random()."
        )
    labels = sorted(sampler.requires - {"features"})
    if labels:
        raise ValueError(
            f"SequentialGradientSampler(sampler={sampler!r}): this strategy requires {labels}, "
            "which items without labels do not have. Use Random(), Grid(), Block(), "
            "FarthestPoint() or DPP()."
        )
    if weights != "none" and ratio < 1 and not sampler.has_inclusion_probability:
        raise ValueError(
            f"SequentialGradientSampler(sampler={sampler!r}, weights={weights!r}): this strategy "
            "has no inclusion probability to divide by. Pass weights='none', which leaves the "
            "gradient biased, or another strategy, e.g. Random()."
        )


def validate_item_dim(item_dim: int) -> None:
    """Refuse an item dimension that is not counted from the front.

    Raises:
        ValueError: If `item_dim` is no integer of at least 0.
    """
    if not isinstance(item_dim, int) or item_dim < 0:
        raise ValueError(
            f"SequentialGradientSampler(item_dim={item_dim!r}): expected 0 for items of shape "
            "[N, ...], 1 for [B, N, ...]."
        )


def validate_generator(generator: torch.Generator | None) -> None:
    """Refuse a seed in place of a generator.

    Raises:
        TypeError: If `generator` is neither None nor a `torch.Generator`.
    """
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"SequentialGradientSampler(generator={generator!r}): expected a torch.Generator or "
            "None. Pass torch.Generator().manual_seed(seed)."
        )


def refuse_uninitialized(encoder: nn.Module) -> None:
    """Refuse parameters that have no values yet.

    Raises:
        ValueError: If there is a lazy module that has not seen its first input.
    """
    lazy = [n for n, p in encoder.named_parameters() if nn.parameter.is_lazy(p)]
    if lazy:
        raise ValueError(
            f"SequentialGradientSampler: the parameters {lazy[:3]} have no values yet. Call the "
            "encoder on one item first."
        )


def coupling_message(coupled: list[str]) -> str:
    """Say why layers that couple items are refused, and the two ways out."""
    return (
        f"SequentialGradientSampler: {', '.join(coupled)} normalise(s) by the statistics of the "
        "micro-batch. The output for one item then depends on the others at hand, and "
        "micro-batched gradients differ from the direct ones. Freeze the layers with "
        "encoder = freeze_batch_norm(encoder), as the paper does, or accept statistics per "
        "micro-batch with SequentialGradientSampler(..., allow_batch_norm=True)."
    )
