"""What `SequentialGradientSampler` refuses before any work is done."""

from collections.abc import Mapping

import torch
from torch import nn

from samplers import AbstractSampler
from sgs.batch_norm import coupled_batch_norm
from sgs.distributed import bare, refuse_flat_parameters, refuse_foreign_shards

WEIGHTS = ("inverse_probability", "none")


def validate_options(
    encoder: nn.Module,
    *,
    sizes: tuple[int | None, int | None, int],
    memory_budget: int | str | None,
    sampling: tuple[AbstractSampler, float, str],
    item_dim: int,
    generator: torch.Generator | None,
    front: Mapping[str, nn.Module | None],
    check_replay: bool | float,
) -> None:
    """Refuse options of `SequentialGradientSampler` that cannot work.

    Raises:
        TypeError: As the functions below.
        ValueError: Likewise.
    """
    sampler, ratio, weights = sampling
    validate_encoder(encoder)
    validate_front(front)
    validate_sizes(micro_batch_size=sizes[0], forward_micro_batch_size=sizes[1])
    validate_budget(memory_budget, sizes)
    validate_sampling(sampler, ratio=ratio, weights=weights)
    validate_item_dim(item_dim)
    validate_generator(generator)
    validate_kept_graphs(sizes[2])
    validate_tolerance(check_replay)


def validate_encoder(encoder: nn.Module) -> None:
    """Refuse what is no encoder, or synchronises gradients by itself.

    Raises:
        TypeError: If the encoder is no module, or a part of it synchronises gradients by itself.
    """
    if not isinstance(encoder, nn.Module):
        raise TypeError(
            f"SequentialGradientSampler(encoder={type(encoder).__name__}): expected an nn.Module, "
            "since its parameters get the gradients."
        )
    parts = list(bare(encoder).modules())
    if any(isinstance(part, nn.parallel.DistributedDataParallel) for part in parts):
        raise TypeError(
            "SequentialGradientSampler(encoder=...): a part of the encoder is wrapped in "
            "DistributedDataParallel, which would reduce its gradients once per micro-batch. Wrap "
            "the encoder as a whole, or the whole model."
        )
    if any(isinstance(part, nn.DataParallel) for part in (encoder, *parts)):
        raise TypeError(
            "SequentialGradientSampler(encoder=DataParallel): its replicas draw random numbers of "
            "their own, which are not replayed. Use DistributedDataParallel."
        )


def validate_front(modules: Mapping[str, nn.Module | None]) -> None:
    """Refuse what is no module in front of the encoder.

    Raises:
        TypeError: If it is something else.
    """
    for name, module in modules.items():
        if module is not None and not isinstance(module, nn.Module):
            raise TypeError(
                f"SequentialGradientSampler({name}={type(module).__name__}): expected an nn.Module,"
                " whose mode and random numbers are those of the encoder."
            )


def validate_sizes(**sizes: int | None) -> None:
    """Refuse micro-batches of less than one item.

    Raises:
        ValueError: If a size is given and is no integer of at least 1.
    """
    for name, size in sizes.items():
        if size is not None and (type(size) is not int or size < 1):
            raise ValueError(
                f"SequentialGradientSampler({name}={size!r}): expected an integer of at least 1: "
                "the number of items that the encoder sees at once."
            )


def validate_budget(
    memory_budget: int | str | None, sizes: tuple[int | None, int | None, int]
) -> None:
    """Refuse sizes that are neither given nor chosen, or both.

    Raises:
        ValueError: If they are.
    """
    if memory_budget is None and sizes[0] is None:
        raise ValueError(
            "SequentialGradientSampler(micro_batch_size=None): expected the number of items that "
            'the encoder sees at once, or memory_budget="8GiB", which chooses it.'
        )
    if memory_budget is not None and sizes != (None, None, 0):
        raise ValueError(
            f"SequentialGradientSampler(memory_budget={memory_budget!r}): expected neither "
            "micro_batch_size, forward_micro_batch_size nor kept_graphs beside it, since it "
            "chooses them."
        )


def validate_sampling(sampler: AbstractSampler, *, ratio: float, weights: str) -> None:
    """Refuse a subset that cannot be drawn or weighted.

    Raises:
        TypeError: If `sampler` is no `AbstractSampler`.
        ValueError: If `ratio` is outside (0, 1], `weights` is unknown, the strategy needs more than
            features, or the weights need an inclusion probability that the strategy does not have.
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
    unknown = sorted(sampler.requires - {"features", "gradient_norm"})
    if unknown:
        raise ValueError(
            f"SequentialGradientSampler(sampler={sampler!r}): this strategy requires {unknown}, "
            "which is not known of the items of an encoder. Use Random(), Grid(), Block(), "
            "FarthestPoint(), DPP() or GradientNorm()."
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


def validate_kept_graphs(kept_graphs: int) -> None:
    """Refuse what is no number of micro-batches.

    Raises:
        ValueError: If it is no integer of at least 0.
    """
    if type(kept_graphs) is not int or kept_graphs < 0:
        raise ValueError(
            f"SequentialGradientSampler(kept_graphs={kept_graphs!r}): expected an integer of at "
            "least 0: how many micro-batches keep their graph in the first pass."
        )


def validate_tolerance(check_replay: bool | float) -> None:
    """Refuse a tolerance that is none.

    Raises:
        ValueError: If it is neither a truth value nor in (0, 1).
    """
    if not isinstance(check_replay, bool) and not (
        isinstance(check_replay, float) and 0 < check_replay < 1
    ):
        raise ValueError(
            f"SequentialGradientSampler(check_replay={check_replay!r}): expected True, False or the"
            " largest relative difference of features that passes, in (0, 1)."
        )


def validate_call(encoder: nn.Module, *, allow_batch_norm: bool) -> None:
    """Refuse to call an encoder in a state in which its gradients would be wrong.

    Raises:
        ValueError: If there is a lazy module that has not seen its first input, or a BatchNorm
            layer in training mode that is not allowed.
        RuntimeError: If parametrized weights are cached, or its parameters are flattened or sharded
            in a way that is not supported.
    """
    refuse_flat_parameters(encoder)
    refuse_foreign_shards(encoder)
    lazy = [n for n, p in encoder.named_parameters() if nn.parameter.is_lazy(p)]
    if lazy:
        raise ValueError(
            f"SequentialGradientSampler: the parameters {lazy[:3]} have no values yet. Call the "
            "encoder on one item first."
        )
    coupled = coupled_batch_norm(encoder)
    if coupled and not allow_batch_norm:
        raise ValueError(
            f"SequentialGradientSampler: {', '.join(coupled)} normalise(s) by the statistics of "
            "the micro-batch. The output for one item then depends on the others at hand, and "
            "micro-batched gradients differ from the direct ones. Freeze the layers with "
            "encoder = freeze_batch_norm(encoder), as the paper does, or accept statistics per "
            "micro-batch with SequentialGradientSampler(..., allow_batch_norm=True)."
        )
    # The cache would hold weights without a graph from the first pass, for the second one to find.
    if torch.nn.utils.parametrize._cache_enabled:
        raise RuntimeError(
            "SequentialGradientSampler: called inside of torch.nn.utils.parametrize.cached(), where"
            " the second pass would find weights without a graph. Leave the block for the call."
        )
