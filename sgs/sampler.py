"""`SequentialGradientSampler`, the encoder wrapper that users call."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from samplers import AbstractSampler, Grid
from sgs.autograd import put_in_graph
from sgs.call_history import CallHistory
from sgs.distributed import bare, call_through, refuse_explicit_backward
from sgs.encoded_items import EncodedItems
from sgs.inference import encode_without_graph
from sgs.items.arguments import CallArguments
from sgs.items.frozen_stem import FrozenStem
from sgs.option_checks import check_weighting
from sgs.options import Options
from sgs.sizes import AbstractBudget
from sgs.training_call import TrainingCall, trains


class SequentialGradientSampler(Options):
    """Call an encoder on more items than fit in memory, and train it on a sampled part of them.

    `sampler(items)` returns the features of all N items and `loss.backward()` trains the encoder,
    as if it were called directly. The call encodes the items in micro-batches without a graph
    (stage 1); the head, the loss and its backward are the user's (stage 2); the backward re-encodes
    a sampled subset, micro-batch by micro-batch, and accumulates its gradients (stage 3; paper 3.3,
    Alg. 1). The memory kept for the backward does not depend on N.

    The gradients equal those of the direct call when `ratio=1`, items do not interact inside the
    encoder, and the encoder is deterministic given its random state. When `ratio < 1` they equal
    those with the feature gradients of unsampled items set to zero, and the others weighted. The
    first call tries whether items interact, by two more encoder calls (docs/exactness.md).

    Call it with the encoder's arguments. Every tensor in them, also inside lists and dicts, holds
    one entry per item, and so does every `Source`, whose items are fetched by micro-batch. Wrap
    arguments that all items share in `Shared`. The module mode and the requires_grad flags are
    never changed. If nothing requires a gradient, or under `torch.no_grad()`, a call is a forward
    pass in micro-batches. The state dict has the encoder's keys with the prefix `encoder.`.

    Args:
        encoder: Maps items `[K, ...]` to features `[K, ...]`, a tensor or a pytree of them.
        micro_batch_size: Items per encoder call with a graph (K in the paper), at least 1, counted
            over all videos. Smaller takes less memory, larger has less overhead. A `MemoryBudget`
            chooses this size, `forward_micro_batch_size` and `kept_graphs`.
        forward_micro_batch_size: Items per encoder call without a graph, at least 1;
            `micro_batch_size` if None. May be larger for speed.
        ratio: Fraction of the items of each video whose gradient is computed (γ), in (0, 1]. Stage
            3 costs in proportion.
        sampler: The strategy that chooses the subset; `Grid()` if None. Feature-guided strategies
            choose after stage 1, gradient-guided ones in the backward. See `docs/samplers.md`.
        weights: "inverse_probability" divides each sampled feature gradient by the item's inclusion
            probability, so the expected gradient is the full one. "none" follows the paper: γ times
            the full one if all items are equally probable.
        item_dim: The dimension that indexes items: 0 for `[N, ...]`, 1 for `[B, N, ...]`. The
            dimensions before it index videos, each sampled separately.
        generator: Source of randomness of the sampling; torch's default CPU generator if None.
        allow_batch_norm: Whether BatchNorm layers in training mode are accepted. They normalise
            by the statistics of each micro-batch, so gradients differ from the direct ones.
        kept_graphs: Number of micro-batches of sampled items whose graph is kept in the first pass,
            so that they need no second one: less time, more memory. Feature- and gradient-guided
            strategies choose too late to keep any.
        frozen_stem: Frozen module in front of the encoder, or a `FrozenStem` of one. Its outputs
            for the sampled items are kept, so that the second pass runs the encoder only. They are
            the encoder's only argument: the gradients are those of
            `nn.Sequential(frozen_stem, encoder)`.
        check_replay: Whether the backward compares the features of both passes and raises if they
            differ, because the gradients would then be wrong. It keeps the sampled items' features.
            A number is the tolerance, relative to the largest number of an item or channel. True
            chooses it: 1e-8 in float64, 1e-4 in float32 (1e-2 on GPUs), 0.1 in half precision.

    Attributes:
        encoder: The encoder itself; all arguments are attributes that may be set later.
        sizes: The sizes in use: those given, or chosen by the `MemoryBudget` for the last call.
        last_index: Ascending positions of the sampled items in the last training call, `[count]` or
            `[B, count]`. None before the first; gradient-guided strategies set it in the backward.

    Raises:
        TypeError: If an argument has the wrong type, or a part of the encoder is wrapped in
            DistributedDataParallel.
        ValueError: If an argument is out of its range, the strategy requires more than features and
            gradients, or it has no inclusion probability and `weights` needs one.

    Example:
        >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
        >>> sampler = SequentialGradientSampler(encoder, micro_batch_size=2, ratio=0.3)
        >>> features = sampler(torch.randn(20, 3, 8, 8))
        >>> features.square().mean().backward()
        >>> features.shape, sampler.last_index.shape
        (torch.Size([20, 4]), torch.Size([6]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        micro_batch_size: int | AbstractBudget,
        forward_micro_batch_size: int | None = None,
        ratio: float = 1.0,
        sampler: AbstractSampler | None = None,
        weights: str = "inverse_probability",
        item_dim: int = 0,
        generator: torch.Generator | None = None,
        allow_batch_norm: bool = False,
        kept_graphs: int = 0,
        frozen_stem: nn.Module | FrozenStem | None = None,
        check_replay: bool | float = True,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.micro_batch_size, self.kept_graphs = micro_batch_size, kept_graphs
        self.forward_micro_batch_size = forward_micro_batch_size
        self.history = CallHistory()
        _ = self.sizes  # raises if a budget and sizes are given
        self.sampler = Grid() if sampler is None else sampler
        self.ratio, self.weights = ratio, weights
        check_weighting(self.sampler, ratio=self.ratio, weights=self.weights)
        self.item_dim, self.generator = item_dim, generator
        self.allow_batch_norm, self.check_replay = allow_batch_norm, check_replay
        self.frozen_stem = frozen_stem
        self.last_index: Int64[Tensor, "*videos count"] | None = None

    # As torch.compiler.disable, but the compiler is imported at the first call and not before.
    @_disable_dynamo
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the features of all items, `[N, ...]` or `[B, N, ...]`.

        Raises:
            TypeError: If tensors are hidden in an argument, e.g. in a dataclass.
            ValueError: If the arguments hold no tensors or disagree on the number of items, the
                encoder does not return one row per item, its BatchNorm layers are in training mode,
                or it has parameters without values.
            RuntimeError: If items interact inside the encoder, it changes its parameters, or it is
                sharded in an unsupported way.
        """
        self._choose_sizes(args, kwargs)
        return call_through(self.encoder, self._features, args, kwargs)

    def _features(self, encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        items = self.items_of(encoder, args, kwargs)
        if not (torch.is_grad_enabled() and trains(encoder, items)):
            size = self.sizes.forward_micro_batch_size
            return encode_without_graph(encoder, items, self.stem, size=size)
        call = self._training_call(encoder, items)
        features = call.encode(compares_all=False)
        return features.restore(put_in_graph(call, features.leaves))

    @_disable_dynamo
    def encode(self, *args: Any, **kwargs: Any) -> EncodedItems:
        """Run stage 1 only, for training loops that run stage 3 themselves.

        Returns:
            The features, as leaf tensors that require a gradient, and the `backward` of stage 3.

        Raises:
            ValueError: As in a call; also if nothing requires a gradient, or if the encoder is
                wrapped in DistributedDataParallel with options that need a graph.
        """
        refuse_explicit_backward(self.encoder)
        self._choose_sizes(args, kwargs)
        encoded: EncodedItems = call_through(self.encoder, self._encoded, args, kwargs)
        return encoded

    def _encoded(
        self, encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> EncodedItems:
        items = self.items_of(encoder, args, kwargs)
        if not trains(encoder, items):
            raise ValueError(
                "SequentialGradientSampler.encode: neither the encoder nor the items require a "
                "gradient, so there is nothing to train. Call the sampler itself for features."
            )
        call = self._training_call(encoder, items)
        return EncodedItems(call, call.encode(compares_all=True))

    def _training_call(self, encoder: nn.Module, items: CallArguments) -> TrainingCall:
        return TrainingCall(
            encoder,
            items,
            self.stem,
            sizes=self.sizes,
            draw=self.draw,
            check_replay=self.check_replay,
            on_draw=partial(setattr, self, "last_index"),
            history=self.history,
            checks_items=self.check_replay is not False and not self.allow_batch_norm,
        )

    def _choose_sizes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        budget, encoder = self.micro_batch_size, bare(self.encoder)
        if isinstance(budget, AbstractBudget):
            items = self.items_of(encoder, args, kwargs)
            if trains(encoder, items):
                self.history.chosen = budget.sizes_of(self, items, args, kwargs)
