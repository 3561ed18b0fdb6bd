"""The settings of a run."""

import math
from dataclasses import dataclass, field
from typing import Literal

from examples.etad.detectors.etad.config import PRESETS as DETECTORS, DetectorConfig
from examples.etad.detectors.etad.postprocess_config import PostprocessConfig


@dataclass(frozen=True)
class DataConfig:
    """Videos and how they are cut into snippets.

    Args:
        annotation_path: ActivityNet-format JSON; if empty, a set of videos is rendered.
        video_folder: Where the files `<id>.mp4` or `v_<id>.mp4` are; unused for rendered videos.
        training_subset: Name of the subset to train on.
        validation_subset: Name of the subset to evaluate on.
        num_snippets: Snippets per video (N).
        frames_per_snippet: Frames per snippet (T).
        frame_stride: Distance of a snippet's frames, in frames.
        frame_size: Height and width of the frames that the encoder sees, in pixels.
        resize_height: Height to which frames are scaled before the crop; `frame_size` if 0.
        resize_width: Width to which frames are scaled; `frame_size` if 0.
        placement: "centred" on the label grid, or "official" as in the released code.
        random_crop: Crop at a random place in training; one place for all frames of a video.
        horizontal_flip: Mirror half of the videos in training. Not for classes that differ by it.
        cache: Keep decoded frames in host memory, 3.4 MiB per default video.
        num_workers: Processes that load videos; 0 loads in the main process.
        render_folder: Folder of the rendered set, which is reused if it exists.
        render_seed: Seed of the rendered set.
        render_training: Rendered videos to train on.
        render_validation: Rendered videos to evaluate on.
        render_frames: Frames of a rendered video, at 25 per second.
    """

    annotation_path: str = ""
    video_folder: str = ""
    training_subset: str = "training"
    validation_subset: str = "validation"
    num_snippets: int = 128
    frames_per_snippet: int = 16
    frame_stride: int = 1
    frame_size: int = 112
    resize_height: int = 0
    resize_width: int = 0
    placement: str = "centred"
    random_crop: bool = True
    horizontal_flip: bool = False
    cache: bool = False
    num_workers: int = 0
    render_folder: str = "data/synthetic"
    render_seed: int = 0
    render_training: int = 120
    render_validation: int = 40
    render_frames: int = 512


@dataclass(frozen=True)
class EncoderConfig:
    """The snippet encoder and its sequentialized gradient sampling (paper section 3.3).

    Args:
        name: One of `ENCODERS` in `encoders/build.py`.
        channels: Channels of its features; 0 for the default. Only motion_net can have another.
        checkpoint: File of published weights to start from; random weights if empty.
        frozen: Keep its initial weights: the feature-based baseline.
        frozen_stages: How many of its first stages keep them; 0 for none. The paper has 2.
        stem_on_host: Keep the output of the frozen stages in host memory for the second pass.
        micro_batch_size: Snippets per call that keeps a graph, over all videos of the batch. The
            paper's K = 4 counts per video: 16 at its batch of 4.
        forward_micro_batch_size: Snippets per call of the first pass; 0: the same.
        kept_graphs: Calls of the first pass that keep their graph instead of being repeated.
        memory_budget: Memory of the device, e.g. "6GiB", for which the three sizes above are
            chosen; if empty, they are as set here.
        ratio: Fraction of the snippets of each video whose gradient is computed (γ).
        sampler: Strategy; one of `STRATEGIES` in `settings/sampler_names.py`.
        weights: "inverse_probability" or "none", as in `SequentialGradientSampler`.
    """

    name: str = "motion_net"
    channels: int = 0
    checkpoint: str = ""
    frozen: bool = False
    frozen_stages: int = 0
    stem_on_host: bool = False
    micro_batch_size: int = 16
    forward_micro_batch_size: int = 0
    kept_graphs: int = 0
    memory_budget: str = ""
    ratio: float = 0.3
    sampler: str = "random"
    weights: str = "inverse_probability"


@dataclass(frozen=True)
class ProposalConfig:
    """Action proposal sampling (paper section 3.4).

    Args:
        ratio: Fraction of the dense proposals that training sees.
        sampler: Strategy; one of `STRATEGIES` in `settings/sampler_names.py`.
        max_duration: Longest proposal in snippets; 0 for no limit.
        evaluation_ratio: Fraction of the proposals, on a fixed grid, that evaluation sees.
        chunk_size: Proposals of a video that evaluation processes at a time; bounds its memory.
    """

    ratio: float = 0.06
    sampler: str = "random"
    max_duration: int = 0
    evaluation_ratio: float = 1.0
    chunk_size: int = 2048


@dataclass(frozen=True)
class TrainConfig:
    """Optimization.

    Args:
        seed: Of weights, sampling, augmentation and the order of the videos.
        epochs: Passes over the training videos.
        batch_size: Videos per step.
        detector_learning_rate: Peak learning rate of the detector.
        encoder_learning_rate: Peak learning rate of the encoder.
        weight_decay: Of AdamW.
        schedule: "cosine" to zero, or "step": a tenth after `step_epochs`.
        warmup_steps: Steps of linear increase at the start.
        step_epochs: Epochs before the learning rate drops; for "step".
        clip_norm: Largest norm of the gradient of all parameters; 0 for no limit.
        precision: "float32", or "bfloat16" for autocast.
        device: "auto" takes a CUDA device if there is one; else a torch device.
        evaluate_every: Epochs between evaluations; 0: only at the end.

    Raises:
        ValueError: If a learning rate, `weight_decay` or `clip_norm` is negative or not finite.
    """

    seed: int = 0
    epochs: int = 6
    batch_size: int = 4
    detector_learning_rate: float = 5e-4
    encoder_learning_rate: float = 5e-7
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "step"] = "step"
    warmup_steps: int = 0
    step_epochs: int = 5
    clip_norm: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = "auto"
    evaluate_every: int = 0

    def __post_init__(self) -> None:
        # A clip_norm below 0 would turn gradients around, and NaN would reach the weights.
        for name in (
            "detector_learning_rate",
            "encoder_learning_rate",
            "weight_decay",
            "clip_norm",
        ):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(
                    f"TrainConfig({name}={value}): expected a finite number of at least 0."
                )


@dataclass(frozen=True)
class Config:
    """Everything about a run; the defaults are those of the released code for ActivityNet."""

    data: DataConfig = field(default_factory=DataConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


# The paper and its released code differ here and in `DetectorConfig`.
PRESETS = {
    "official": Config(),
    "paper": Config(
        detector=DETECTORS["paper"],
        postprocess=PostprocessConfig(score="boundary_iou"),
        train=TrainConfig(detector_learning_rate=1e-3, encoder_learning_rate=1e-7),
    ),
}
