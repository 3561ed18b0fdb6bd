"""`ProposalSampler`: a small part of the dense proposal map for each video (paper section 3.4)."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from aps._videos import check_features, check_number_of_videos, check_segments
from aps.proposals import proposal_map, segments_of
from aps.tiou import pairwise_tiou
from samplers import AbstractSampler, Candidates, Grid, Random, count_from_ratio

_Given = TypeVar("_Given")


class ProposalSampler(nn.Module):
    """Choose which candidate proposals of each video the detector sees.

    In training mode every call draws `ratio` of the dense map for each video on its own, the same
    number for all of them: 6 % is enough (paper Fig. 4). In evaluation mode it returns all
    proposals, or the fixed grid of `evaluation_ratio` (supplement B.2).

    Args:
        sampler: The strategy; `Random()` if None.
        ratio: Fraction of the proposals kept in training, in (0, 1].
        num_snippets: Snippets per video, at least 1.
        max_duration: Longest proposal in snippets, in [1, `num_snippets`]; no limit if None.
        evaluation_ratio: Fraction of the proposals kept in evaluation, in (0, 1]. Below 0.1 the
            paper sees the accuracy drop.
        generator: Source of randomness; torch's default CPU generator if None.

    Raises:
        TypeError: If `sampler` is no `AbstractSampler`, or `generator` no `torch.Generator`.
        ValueError: If a ratio or a size is out of its range, or the strategy requires what is not
            known of proposals.

    Example:
        >>> sampler = ProposalSampler(Random(), ratio=0.06, num_snippets=128)
        >>> index = sampler(batch_size=4)
        >>> index.shape, sampler.proposals[index].shape
        (torch.Size([4, 495]), torch.Size([4, 495, 2]))
    """

    _anchor: Tensor

    def __init__(
        self,
        sampler: AbstractSampler | None = None,
        ratio: float = 0.06,
        *,
        num_snippets: int,
        max_duration: int | None = None,
        evaluation_ratio: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.sampler = Random() if sampler is None else sampler
        self.ratio = ratio
        self.evaluation_ratio = evaluation_ratio
        self.generator = generator
        self.num_snippets = num_snippets
        self.max_duration = max_duration
        self._validate()
        # Knows the device of the module, and holds no values that `to_empty` could lose.
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    @property
    def valid(self) -> Bool[Tensor, "durations starts"]:
        """The cells of the map that are proposals, on the device of the module."""
        return proposal_map(self.num_snippets, self.max_duration).to(self._anchor.device)

    @property
    def proposals(self) -> Float[Tensor, "proposals 2"]:
        """The dense map: (start, end), normalised by the duration of the video.

        float32 whatever the module is cast to: half precision cannot tell 1,000 snippets apart.
        """
        return segments_of(self.valid)

    def _validate(self) -> None:
        if not isinstance(self.sampler, AbstractSampler):
            raise TypeError(
                f"ProposalSampler(sampler={self.sampler!r}): expected a strategy object such as "
                "samplers.Random()."
            )
        unknown = sorted(self.sampler.requires - {"features", "tiou", "scale"})
        if unknown:
            raise ValueError(
                f"ProposalSampler(sampler={self.sampler!r}): this strategy requires {unknown}, "
                "which is not known of proposals. Call the strategy itself, or use one that "
                "requires features, tiou or scale."
            )
        if self.generator is not None and not isinstance(self.generator, torch.Generator):
            raise TypeError(
                f"ProposalSampler(generator={self.generator!r}): expected a torch.Generator or "
                "None. Pass torch.Generator().manual_seed(seed)."
            )
        for name in ("ratio", "evaluation_ratio"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"ProposalSampler({name}={getattr(self, name)!r}): expected a value in (0, 1], "
                    "the fraction of the dense proposals that is kept."
                )
        # Refuses sizes for which there is no map.
        proposal_map(self.num_snippets, self.max_duration)

    def forward(
        self,
        batch_size: int,
        *,
        gt_segments: Sequence[Float[Tensor, "_ 2"]] | None = None,
        features: Float[Tensor, "batch snippets channels"] | None = None,
    ) -> Int64[Tensor, "batch count"]:
        """Return the positions in `proposals` that are kept for each video, in ascending order.

        Args:
            batch_size: Number of videos.
            gt_segments: The ground truth of each video, normalised; label-guided strategies need
                it. A video may have none.
            features: The snippets' features, which feature-guided strategies need: a proposal is
                represented by the mean of its snippets'.

        Raises:
            ValueError: If the strategy needs what is not given or not normalised, or the number of
                videos or snippets does not agree.
        """
        check_number_of_videos(batch_size, gt_segments=gt_segments, features=features)
        valid = self.valid
        proposals = segments_of(valid)
        ratio = self.ratio if self.training else self.evaluation_ratio
        if ratio == 1:
            return torch.arange(len(proposals), device=proposals.device).repeat(batch_size, 1)
        count = count_from_ratio(ratio, len(proposals))
        if not self.training:
            candidates = Candidates(num_items=len(proposals), valid=valid)
            return Grid(random_phase=False).sample(candidates, count).repeat(batch_size, 1)
        gt_segments = self._if_required("tiou", "gt_segments", gt_segments)
        features = self._if_required("features", "features", features)
        if gt_segments is not None:
            check_segments(gt_segments)
        if features is not None:
            check_features(features, batch_size=batch_size, num_snippets=self.num_snippets)
        index = torch.empty(batch_size, count, dtype=torch.int64, device=proposals.device)
        for video in range(batch_size):
            candidates = Candidates(
                num_items=len(proposals),
                valid=valid,
                scale=proposals[:, 1] - proposals[:, 0],
                tiou=None if gt_segments is None else _best_tiou(proposals, gt_segments[video]),
                features=None if features is None else self._mean_features(features[video]),
            )
            index[video] = self.sampler.sample(candidates, count, generator=self.generator)
        return index

    def _if_required(self, field: str, name: str, given: _Given | None) -> _Given | None:
        """Return what the strategy looks at; what it does not would take time for nothing."""
        if field not in self.sampler.requires:
            return None
        if given is None:
            raise ValueError(
                f"ProposalSampler({name}=None): {self.sampler!r} requires `{field}`. Pass "
                f"{name}=..., or use a strategy that requires nothing, e.g. Random()."
            )
        return given

    def _mean_features(self, features: Tensor) -> Tensor:
        # Differences of float64 sums keep the mean of one snippet exact to float32.
        sums = nn.functional.pad(features.detach().double().cumsum(dim=0), (0, 0, 1, 0))
        duration, start = self.valid.nonzero(as_tuple=True)
        means = (sums[start + duration + 1] - sums[start]) / (duration + 1)[:, None]
        return means.to(features.dtype)


def _best_tiou(proposals: Tensor, gt_segments: Tensor) -> Tensor:
    if len(gt_segments) == 0:
        return proposals.new_zeros(len(proposals))
    return pairwise_tiou(proposals, gt_segments.to(proposals)).amax(dim=1)
