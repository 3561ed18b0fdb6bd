"""The options of the detector and its losses (supplement A)."""

from dataclasses import dataclass
from typing import Literal, get_args

Balance = Literal["sampled", "weighted"]
StartEndHeads = Literal["own", "joint"]
Trunk = Literal["shared", "own"]

_CHOICES = {
    "balance": get_args(Balance),
    "start_end_heads": get_args(StartEndHeads),
    "trunk": get_args(Trunk),
}
_POSITIVE_INTEGERS = (
    "hidden_channels", "lstm_channels", "conv_groups", "norm_groups", "roi_channels", "roi_bins",
    "trunk_size", "head_size",
)  # fmt: skip
_POSITIVE_NUMBERS = ("context_ratio", "centre_width_divisor", "boundary_region_snippets")
_WEIGHTS = (
    "tiou_classification_weight", "tiou_regression_weight", "offset_weight",
    "proposal_boundary_weight", "class_weight",
)  # fmt: skip


@dataclass(frozen=True)
class DetectorConfig:
    """The detector and its losses; the defaults are those of the released code.

    The paper and the released code differ in many details, and only the latter has published logs:
    hence the defaults. `PRESETS` holds both. They also differ in how a proposal is scored: see
    `PostprocessConfig`.

    Args:
        hidden_channels: Channels of the enhanced features.
        lstm_channels: Channels of each of the two LSTMs.
        conv_groups: Groups of the temporal convolutions; divides the channels of the encoder.
        norm_groups: Groups of every group normalisation.
        roi_channels: Channels of a proposal's feature.
        roi_bins: Bins over the proposal and its context (paper 32, release 24).
        boundary_bins: Bins at either end of these that make the start and the end feature (paper 8,
            release 6). A quarter of `roi_bins` at the default `context_ratio` is exactly the
            context outside the proposal. Unused with joint heads.
        context_ratio: Context on either side, in lengths of the proposal.
        roi_aligned: Whether bins and labels lie on the same grid. The release's flavour (False)
            looks half a snippet to the right of it; G-TAD, which the paper follows, does not.
        stage_conv: Whether each stage has its own residual convolution (only in the release).
        trunk_size: Units of the first layer over a proposal's feature.
        head_size: Units of the other hidden layers.
        trunk: "own": one first layer per head (supplement, table 2); "shared": one for the heads
            that see the whole feature (release).
        start_end_heads: "own": the start and the end offset each have a head on their own feature;
            "joint": all four offsets come from one head on the whole feature (as in OpenTAD).
        centre_width_divisor: Divides the predicted centre and width offsets (release 2, paper 1).
        num_classes: 0 for class-agnostic proposals, as in the paper, which takes the labels from a
            video classifier. Otherwise the last stage also classifies: beyond the paper.
        tiou_thresholds: tIoU above which a proposal's offsets are trained, one cascade stage each.
        balance: Positives against negatives in the losses of tIoU classification and of proposal
            boundaries. "weighted": as many parts from either (BMN, the paper); "sampled": as many
            negatives as positives are drawn (release).
        tiou_positive_threshold: tIoU above which the tIoU classification calls a proposal positive.
        regress_zero_tiou: Whether proposals of tIoU 0 take part in the tIoU regression as those of
            low tIoU do (release), or not at all (BMN, the paper).
        tiou_classification_weight: Factor of that loss.
        tiou_regression_weight: Factor of that loss (paper 1, release 5).
        offset_weight: Factor of the offset losses, the paper's λ.
        proposal_boundary_weight: Factor of the proposal boundary losses (paper 1, release 0.5).
        class_weight: Factor of the classification loss, where there is one.
        class_tiou_threshold: tIoU above which a proposal is classified.
        boundary_region_snippets: Snippets around a boundary that its label covers.

    Raises:
        ValueError: If a value is out of its range.
    """

    hidden_channels: int = 256
    lstm_channels: int = 256
    conv_groups: int = 4
    norm_groups: int = 16
    roi_channels: int = 128
    roi_bins: int = 24
    boundary_bins: int = 6
    context_ratio: float = 0.5
    roi_aligned: bool = False
    stage_conv: bool = True
    trunk_size: int = 512
    head_size: int = 128
    trunk: Trunk = "shared"
    start_end_heads: StartEndHeads = "own"
    centre_width_divisor: float = 2.0
    num_classes: int = 0
    tiou_thresholds: tuple[float, ...] = (0.7, 0.8, 0.9)
    balance: Balance = "sampled"
    tiou_positive_threshold: float = 0.9
    regress_zero_tiou: bool = True
    tiou_classification_weight: float = 1.0
    tiou_regression_weight: float = 5.0
    offset_weight: float = 10.0
    proposal_boundary_weight: float = 0.5
    class_weight: float = 1.0
    class_tiou_threshold: float = 0.5
    boundary_region_snippets: float = 3.0

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            self._require(getattr(self, name) in choices, name, f"one of {choices}")
        for name in _POSITIVE_INTEGERS:
            self._require(getattr(self, name) >= 1, name, "at least 1")
        for name in _POSITIVE_NUMBERS:
            self._require(getattr(self, name) > 0, name, "a positive number")
        for name in _WEIGHTS:
            self._require(getattr(self, name) >= 0, name, "a weight of 0 or more")
        self._require(self.num_classes >= 0, "num_classes", "0 (class-agnostic) or more")
        self._check_groups()
        self._check_thresholds()
        self._require(
            self.start_end_heads == "joint" or 1 <= self.boundary_bins <= self.roi_bins,
            "boundary_bins",
            f"at least 1 and at most roi_bins={self.roi_bins}",
        )

    def _check_groups(self) -> None:
        groups, norms = self.conv_groups, self.norm_groups
        self._require(
            self.hidden_channels % groups == 0 and self.hidden_channels % (2 * norms) == 0,
            "hidden_channels",
            f"a multiple of conv_groups={groups} and of twice norm_groups={norms}, for half of "
            "these channels are normalised on their own",
        )
        # Half of the hidden channels leave the LSTMs' branches through a grouped convolution.
        self._require(
            self.lstm_channels % groups == 0 and self.hidden_channels // 2 % groups == 0,
            "conv_groups",
            f"a divisor of lstm_channels={self.lstm_channels} and of half of "
            f"hidden_channels={self.hidden_channels}",
        )

    def _check_thresholds(self) -> None:
        thresholds = self.tiou_thresholds
        self._require(
            len(thresholds) > 0 and all(0 <= threshold < 1 for threshold in thresholds),
            "tiou_thresholds",
            "one value in [0, 1) per stage, at least one",
        )
        for name in ("tiou_positive_threshold", "class_tiou_threshold"):
            self._require(0 <= getattr(self, name) < 1, name, "a tIoU in [0, 1)")

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            value = getattr(self, name)
            raise ValueError(f"DetectorConfig({name}={value!r}): expected {expected}, got {value}.")


PRESETS = {
    "official": DetectorConfig(),
    "paper": DetectorConfig(
        roi_bins=32,
        boundary_bins=8,
        roi_aligned=True,
        stage_conv=False,
        trunk="own",
        centre_width_divisor=1.0,
        balance="weighted",
        regress_zero_tiou=False,
        tiou_regression_weight=1.0,
        proposal_boundary_weight=1.0,
    ),
}
