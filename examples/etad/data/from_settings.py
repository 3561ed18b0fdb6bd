"""From the data settings to videos and data sets."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from examples.etad.data.annotations.activitynet import (
    VideoAnnotation,
    class_names,
    load_annotations,
)
from examples.etad.data.dataset import VideoDataset
from examples.etad.data.rendered.render import render_dataset
from examples.etad.data.snippets.augmentation import Augmentation
from examples.etad.settings.config import DataConfig


@dataclass(frozen=True)
class Videos:
    """The annotated videos of both subsets and the names of all classes."""

    training: list[VideoAnnotation]
    validation: list[VideoAnnotation]
    classes: tuple[str, ...]


def find_videos(config: DataConfig) -> Videos:
    """Read the annotations, after rendering the videos if the settings name no file.

    Raises:
        ValueError: If the annotations are invalid.
        FileNotFoundError: If a file is missing.
    """
    annotation_path, folder = Path(config.annotation_path), Path(config.video_folder)
    if not config.annotation_path:
        rendered = render_dataset(
            Path(config.render_folder),
            seed=config.render_seed,
            num_training=config.render_training,
            num_validation=config.render_validation,
            num_frames=config.render_frames,
        )
        annotation_path, folder = rendered.annotation_path, rendered.video_folder
    load = partial(load_annotations, annotation_path, video_folder=folder)
    return Videos(
        training=load(subset=config.training_subset),
        validation=load(subset=config.validation_subset),
        classes=class_names(annotation_path),
    )


def open_dataset(
    annotations: list[VideoAnnotation],
    config: DataConfig,
    *,
    classes: tuple[str, ...],
    augmentation: Augmentation | None = None,
) -> VideoDataset:
    """Return the data set of some videos; without `augmentation`, of centre crops."""
    resize = (config.resize_height or config.frame_size, config.resize_width or config.frame_size)
    return VideoDataset(
        annotations,
        num_snippets=config.num_snippets,
        frames_per_snippet=config.frames_per_snippet,
        frame_stride=config.frame_stride,
        frame_size=config.frame_size,
        resize_size=resize,
        placement=config.placement,
        classes=classes,
        augmentation=augmentation,
        cache=config.cache,
    )
