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
    """Choose the candidate proposals of each video that the detector sees.

    In training mode every call draws a fraction `ratio` of the dense map, for each video on its own
    and with the same count. 6 % is enough (paper Fig. 4). In evaluation mode it returns all
    proposals, or a fixed grid of `evaluation_ratio` of them (supplement B.2).

    Args:
        sampler: The strategy; `Random()` if None.
        ratio: Fraction of the proposals kept in training, in (0, 1].
        num_snippets: Snippets per video, at least 1.
        max_duration: Longest proposal in snippets, in [1, `num_snippets`]; no limit if None.
        evaluation_ratio: Fraction of the proposals kept in evaluation, in (0, 1]. Below 0.1
            accuracy drops (paper).
        generator: Source of randomness; torch's default CPU generator if None.

    Raises:
        TypeError: If `sampler` is not an `AbstractSampler`, or `generator` not a `torch.Generator`.
        ValueError: If a ratio or a size is out of its range, or the strategy requires a field that
            proposals do not have.

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
        # Follows the device of the module; empty, so `to_empty` loses no values.
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    @property
    def valid(self) -> Bool[Tensor, "durations starts"]:
        """The valid cells of the proposal map, on the device of the module."""
        return proposal_map(self.num_snippets, self.max_duration).to(self._anchor.device)

    @property
    def proposals(self) -> Float[Tensor, "proposals 2"]:
        """The dense map: (start, end), normalised by the duration of the video.

        Always float32: half precision cannot distinguish 1,000 snippets.
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
                "which proposals do not have. Call the strategy directly, or use one that requires "
                "features, tiou or scale."
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
                    "the fraction of the dense proposals to keep."
                )
        # Raises an error if the sizes are invalid.
        proposal_map(self.num_snippets, self.max_duration)

    def forward(
        self,
        batch_size: int,
        *,
        gt_segments: Sequence[Float[Tensor, "_ 2"]] | None = None,
        features: Float[Tensor, "batch snippets channels"] | None = None,
    ) -> Int64[Tensor, "batch count"]:
        """Return the kept positions in `proposals` for each video, in ascending order.

        Args:
            batch_size: Number of videos.
            gt_segments: The normalised ground truth of each video, for label-guided strategies. A
                video may have none.
            features: The features of the snippets, for feature-guided strategies. The feature of a
                proposal is the mean over its snippets.

        Raises:
            ValueError: If an argument that the strategy requires is missing, ground truth is not
                normalised, or the number of videos or snippets differs between arguments.
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
        """Return the argument if the strategy uses it, to save time if it does not."""
        if field not in self.sampler.requires:
            return None
        if given is None:
            raise ValueError(
                f"ProposalSampler({name}=None): {self.sampler!r} requires `{field}`. Pass "
                f"{name}=..., or use a strategy that requires nothing, e.g. Random()."
            )
        return given

    def _mean_features(self, features: Tensor) -> Tensor:
        # Cumulative sums in float64: their differences are exact to float32.
        sums = nn.functional.pad(features.detach().double().cumsum(dim=0), (0, 0, 1, 0))
        duration, start = self.valid.nonzero(as_tuple=True)
        means = (sums[start + duration + 1] - sums[start]) / (duration + 1)[:, None]
        return means.to(features.dtype)


def _best_tiou(proposals: Tensor, gt_segments: Tensor) -> Tensor:
    if len(gt_segments) == 0:
        return proposals.new_zeros(len(proposals))
    return pairwise_tiou(proposals, gt_segments.to(proposals)).amax(dim=1)
