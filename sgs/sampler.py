"""`SequentialGradientSampler`, the encoder wrapper that users see."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from samplers import AbstractSampler, Grid
from sgs.autograd import put_in_graph
from sgs.batch_norm import coupled_batch_norm
from sgs.distributed import bare, call_through, refuse_explicit_backward
from sgs.encoded_items import EncodedItems
from sgs.engine import TwoPasses
from sgs.inference import forward_only
from sgs.items.arguments import ItemCall
from sgs.items.features import FeatureBuffer
from sgs.items.frozen_stem import Front
from sgs.late_subset import SubsetOf, gradient_norms
from sgs.options import validate_call, validate_options
from sgs.subset import Subset, SubsetDraw
from sgs.training_call import encode_and_draw, in_order


class SequentialGradientSampler(nn.Module):
    """Call an encoder on more items than fit in memory, and train it on a sampled part of them.

    `sampler(items)` returns the features of all N items and `loss.backward()` trains the encoder,
    as if it were called directly. It encodes the items in micro-batches without a graph (stage 1);
    the head, the loss and its backward are the user's (stage 2); the backward re-encodes a sampled
    subset, micro-batch by micro-batch, and accumulates its gradients (stage 3; paper 3.3, Alg. 1).
    The memory kept for the backward does not depend on N.

    The gradients equal those of the direct call when `ratio=1`, items do not interact inside the
    encoder, and the encoder is deterministic given its random state. When `ratio < 1` they equal
    those with the feature gradients of unsampled items set to zero, and the others weighted. Items
    interact, without an error, in layers that read the first dimension as time, such as recurrent
    and transformer layers without `batch_first=True`.

    The arguments of a call are those of the encoder. Every tensor in them, also inside lists and
    dicts, holds one entry per item, and so does every `Source`, which is fetched by micro-batch;
    wrap in `Shared` what all items have in common. The module mode
    and the requires_grad flags of the encoder are the user's own; without anything to train, or
    under `torch.no_grad()`, a call is a micro-batched forward pass.

    Args:
        encoder: Maps items `[K, ...]` to features `[K, ...]`, a tensor or a pytree of them.
        micro_batch_size: Items per call that keeps a graph (K in the paper), at least 1. Items of
            all videos count. Less memory when smaller, less overhead when larger. Leave it out
            with `memory_budget`.
        forward_micro_batch_size: Items per call of the first pass that keeps none, at least 1; as
            `micro_batch_size` if None. May be larger for speed.
        ratio: Fraction of the items of each video whose gradient is computed (γ), in (0, 1]. Stage
            3 costs in proportion.
        sampler: How the subset is chosen; `Grid()` if None, at equal distances along the items
            from a random start. Strategies that look at features choose after stage 1, those that
            look at gradients in the backward. See `docs/samplers.md`.
        weights: "inverse_probability" divides each sampled feature gradient by the item's inclusion
            probability: the expected gradient is the full one. "none" is the paper: it is γ times
            the full one for strategies with equal probabilities.
        item_dim: The dimension that indexes items: 0 for `[N, ...]`, 1 for `[B, N, ...]`. Those
            before it are videos, each sampled on its own.
        generator: Source of randomness of the sampling; torch's default CPU generator if None.
        allow_batch_norm: Whether BatchNorm layers in training mode are accepted. They normalise
            by the statistics of each micro-batch, so gradients differ from the direct ones.
        kept_graphs: Micro-batches of sampled items that keep their graph in the first pass, instead
            of being encoded again: less time for more memory. Strategies that look at features
            or gradients know them too late, and keep none.
        memory_budget: The memory of the device that a training step may take, in bytes or as in
            "8GiB": both sizes and `kept_graphs` are chosen for it, predicted at the first call and
            corrected by what the first steps show. See `sgs.planning.settings.memory_budget`.
        preprocess: Module in front of the encoder that runs on each micro-batch in both passes,
            without a graph, on the encoder's device: normalisation, crops.
        frozen_stem: Module in front of the encoder (behind `preprocess`) that does not train. Its
            outputs of the sampled items are kept for the second pass, which repeats the encoder
            only. The encoder receives them as its only argument, so the gradients are those of
            `nn.Sequential(preprocess, frozen_stem, encoder)`.
        stem_cache_device: Where these outputs are kept, e.g. "cpu"; where they are if None.
        check_replay: Whether the backward compares the features of both passes, and raises rather
            than return gradients that belong to other features than the loss has seen. It keeps a
            copy of the sampled items' features. A number is the largest difference that passes,
            relative to the largest feature; True chooses it by the precision: 1e-8 in float64, 1e-4
            in float32 (1e-2 on GPUs), 0.1 in half precision.

    Attributes:
        encoder: The encoder itself, unchanged.
        last_index: Which items had a gradient in the last call that trains: ascending positions
            `[count]`, or `[B, count]`; None before, and until the backward of a call whose strategy
            looks at gradients.

    Raises:
        TypeError: If `encoder` is no module or a part of it is wrapped in DistributedDataParallel,
            or `sampler` or `generator` is of another type.
        ValueError: If an argument is out of its range, the strategy requires more than features, or
            it has no inclusion probability while `weights` needs one.

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
        micro_batch_size: int | None = None,
        forward_micro_batch_size: int | None = None,
        ratio: float = 1.0,
        sampler: AbstractSampler | None = None,
        weights: str = "inverse_probability",
        item_dim: int = 0,
        generator: torch.Generator | None = None,
        allow_batch_norm: bool = False,
        kept_graphs: int = 0,
        memory_budget: int | str | None = None,
        preprocess: nn.Module | None = None,
        frozen_stem: nn.Module | None = None,
        stem_cache_device: torch.device | str | None = None,
        check_replay: bool | float = True,
    ) -> None:
        sampler = Grid() if sampler is None else sampler
        validate_options(
            encoder,
            sizes=(micro_batch_size, forward_micro_batch_size, kept_graphs),
            memory_budget=memory_budget,
            sampling=(sampler, ratio, weights),
            item_dim=item_dim,
            generator=generator,
            front={"preprocess": preprocess, "frozen_stem": frozen_stem},
            check_replay=check_replay,
        )
        super().__init__()
        self.encoder = encoder
        self.micro_batch_size = micro_batch_size or 1
        self.forward_micro_batch_size = forward_micro_batch_size or self.micro_batch_size
        self.ratio = ratio
        self.sampler = sampler
        self.weights = weights
        self.item_dim = item_dim
        self.generator = generator
        self.allow_batch_norm = allow_batch_norm
        self.kept_graphs = kept_graphs
        self.memory_budget = None if memory_budget is None else _budget(memory_budget)
        self.preprocess = preprocess
        self.frozen_stem = frozen_stem
        self.stem_cache_device = (
            None if stem_cache_device is None else torch.device(stem_cache_device)
        )
        self.check_replay = check_replay
        self.last_index: Int64[Tensor, "*videos count"] | None = None

    # What is compiled around the call goes on behind it; the encoder itself may be compiled.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the features of all items, with the items' dimensions in front.

        Raises:
            TypeError: If an argument hides tensors from view.
            ValueError: If the arguments hold no tensors or disagree on the number of items, the
                encoder does not return one row per item, its BatchNorm layers are in training mode,
                or it has parameters without values.
            RuntimeError: If the encoder changes its own parameters, or its buffers in another way
                for each micro-batch, which cannot be replayed, or is sharded in a way that is not
                supported.
        """
        self._settle(args, kwargs)
        run = partial(self._features, bare(self.encoder))
        return call_through(self.encoder, run, args, kwargs)

    def _features(self, encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self.call_of(encoder, args, kwargs)
        if not (torch.is_grad_enabled() and _trains(encoder, call)):
            groups = in_order(call.num_items, size=self.forward_micro_batch_size)
            features = forward_only(encoder, call, self.front, groups)
            return features.restore(features.leaves)
        passes = self._passes(encoder, call)
        features, subset, subset_of = self._encode_and_draw(passes)
        index = torch.arange(call.num_items, device="cpu") if subset is None else subset.positions
        passes.compare(features, index, tolerance=self.check_replay)
        return features.restore(put_in_graph(passes, subset_of, features.leaves))

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def encode(self, *args: Any, **kwargs: Any) -> EncodedItems:
        """Run stage 1 alone, for those who own their loop.

        Returns:
            The features, as leaves that collect their gradient, and the `backward` of stage 3.

        Raises:
            ValueError: As a call does, if there is nothing to train, or if the encoder is wrapped
                in DistributedDataParallel with options that need a graph.
        """
        refuse_explicit_backward(self.encoder)
        self._settle(args, kwargs)
        run = partial(self._encoded, bare(self.encoder))
        encoded: EncodedItems = call_through(self.encoder, run, args, kwargs)
        return encoded

    def _encoded(
        self, encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> EncodedItems:
        call = self.call_of(encoder, args, kwargs)
        if not _trains(encoder, call):
            raise ValueError(
                "SequentialGradientSampler.encode: neither the encoder nor the items require a "
                "gradient, so there is nothing to train. Call the sampler itself for features."
            )
        passes = self._passes(encoder, call)
        features, subset, subset_of = self._encode_and_draw(passes)
        index = torch.arange(call.num_items, device="cpu")
        passes.compare(features, index, tolerance=self.check_replay)
        return EncodedItems(passes, features, subset, subset_of)

    def extra_repr(self) -> str:
        """Show the options."""
        return (
            f"micro_batch_size={self.micro_batch_size}, "
            f"forward_micro_batch_size={self.forward_micro_batch_size}, ratio={self.ratio}, "
            f"sampler={self.sampler}, weights={self.weights!r}, item_dim={self.item_dim}, "
            f"kept_graphs={self.kept_graphs}, memory_budget={self.memory_budget}"
        )

    @property
    def front(self) -> Front:
        """What runs before the encoder."""
        return Front(self.preprocess, self.frozen_stem, self.stem_cache_device)

    def call_of(
        self, encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ItemCall:
        """Return the items of a call, unless it is refused.

        Args:
            encoder: The encoder without what wraps it.
            args: The arguments of the call.
            kwargs: Its keyword arguments.

        Raises:
            TypeError: As a call does.
            ValueError: Likewise.
            RuntimeError: Likewise.
        """
        validate_call(self.front.before(encoder), allow_batch_norm=self.allow_batch_norm)
        tensors = (*encoder.parameters(), *encoder.buffers())
        device = tensors[0].device if tensors else None
        call = ItemCall(args, kwargs, item_dim=self.item_dim, device=device)
        self.front.refuse_training(call)
        return call

    def _settle(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Choose the sizes of a call that trains, where there is a budget for them."""
        if self.memory_budget is None:
            return
        encoder = bare(self.encoder)
        call = self.call_of(encoder, args, kwargs)
        if _trains(encoder, call):
            self.memory_budget.settle(self, call, args, kwargs)

    def _passes(self, encoder: nn.Module, call: ItemCall) -> TwoPasses:
        return TwoPasses(
            encoder,
            call,
            self.front,
            micro_batch_size=self.micro_batch_size,
            couples_items=bool(coupled_batch_norm(self.front.before(encoder))),
            timed=None if self.memory_budget is None else self.memory_budget.timed,
        )

    def _encode_and_draw(self, passes: TwoPasses) -> tuple[FeatureBuffer, Subset | None, SubsetOf]:
        draw = SubsetDraw(self.sampler, self.ratio, self.weights, self.generator)
        features, subset = encode_and_draw(
            passes,
            draw,
            size=self.micro_batch_size,
            forward_size=self.forward_micro_batch_size,
            num_kept=self.kept_graphs,
        )
        lead_shape = passes.call.lead_shape
        self.last_index = None if subset is None else subset.in_shape(lead_shape)

        def subset_of(feature_gradients: Sequence[Tensor | None]) -> Subset:
            if subset is not None:
                return subset
            norms = gradient_norms(feature_gradients, lead_shape)
            drawn = draw(*norms.shape, gradient_norms=norms)
            self.last_index = drawn.in_shape(lead_shape)
            return drawn

        return features, subset, subset_of


def _trains(encoder: nn.Module, call: ItemCall) -> bool:
    return any(tensor.requires_grad for tensor in (*encoder.parameters(), *call.tensors))


def _budget(budget: int | str) -> Any:
    # Not at the top: an estimate is one of a sampler.
    from sgs.planning.settings.memory_budget import MemoryBudget

    return MemoryBudget(budget)
