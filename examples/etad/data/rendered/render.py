"""A seeded set of untrimmed videos, rendered to real files in ActivityNet's format."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from examples.etad.data.rendered.action_times import Instance, draw_schedule
from examples.etad.data.rendered.motion import ACTIONS
from examples.etad.data.rendered.random_numbers import derived_generator
from examples.etad.data.rendered.scene import draw_video
from examples.etad.data.rendered.video_writer import write_video

CLASSES = tuple(sorted(ACTIONS))

_RENDERER_VERSION = 1  # raise it when the same seed gives other videos: old sets are then refused


@dataclass(frozen=True)
class DatasetFiles:
    """The paths of a rendered set.

    Args:
        annotation_path: Its ActivityNet-format annotations, subsets "training" and "validation".
        video_folder: Its videos.
    """

    annotation_path: Path
    video_folder: Path


def render_dataset(
    folder: Path,
    *,
    seed: int,
    num_training: int,
    num_validation: int,
    num_frames: int = 512,
    frame_size: int = 48,
    frames_per_second: int = 25,
    progress: bool = True,
) -> DatasetFiles:
    """Render the set, or return the one that is there.

    A video depends on the seed, its subset and its number only, so sets of different sizes share
    videos. About 0.15 s per video on one core.

    Args:
        folder: Folder to write; it appears complete or not at all.
        seed: Seed of everything random.
        num_training: Videos of the subset "training".
        num_validation: Videos of the subset "validation".
        num_frames: Frames per video, at least 32.
        frame_size: Height and width in pixels, even and at least 16.
        frames_per_second: Frame rate, at least 1.
        progress: Whether to show a bar.

    Raises:
        ValueError: If a number is out of its range, or the folder holds something else.
    """
    folder = Path(folder)
    parameters = {
        "renderer_version": _RENDERER_VERSION,
        "seed": seed,
        "num_training": num_training,
        "num_validation": num_validation,
        "num_frames": num_frames,
        "frame_size": frame_size,
        "frames_per_second": frames_per_second,
    }
    _check_parameters(parameters)
    if folder.exists():
        _check_same(folder, parameters)
    else:
        _render_all(folder, parameters, progress=progress)
    return DatasetFiles(folder / "annotations.json", folder / "videos")


def _render_all(folder: Path, parameters: dict[str, int], *, progress: bool) -> None:
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "videos").mkdir(parents=True)
    names = [
        (subset, number)
        for subset in ("training", "validation")
        for number in range(parameters[f"num_{subset}"])
    ]
    database = {
        f"{subset}_{number:03d}": _render(
            unfinished / "videos" / f"{subset}_{number:03d}.mp4", parameters, key=(subset, number)
        )
        for subset, number in tqdm(names, desc="render", unit="video", disable=not progress)
    }
    content = {"version": "rendered", "parameters": parameters, "database": database}
    (unfinished / "annotations.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    # The only step that others can see, and it cannot be seen half done.
    unfinished.rename(folder)


def _render(path: Path, parameters: dict[str, int], *, key: tuple[str, int]) -> dict[str, Any]:
    """Write one video; return its entry in the annotation file."""
    generator = derived_generator((parameters["seed"], *key))
    num_frames, rate = parameters["num_frames"], parameters["frames_per_second"]
    schedule = draw_schedule(num_frames, generator=generator)
    frames = draw_video(
        schedule,
        num_frames=num_frames,
        frame_size=parameters["frame_size"],
        generator=generator,
    )
    write_video(path, frames, frames_per_second=rate)
    return {
        "subset": key[0],
        "duration": num_frames / rate,
        "annotations": [_annotation(instance, rate) for instance in schedule],
    }


def _annotation(instance: Instance, frames_per_second: int) -> dict[str, Any]:
    segment = [instance.start / frames_per_second, instance.end / frames_per_second]
    return {"segment": segment, "label": instance.label}


def _check_parameters(parameters: dict[str, int]) -> None:
    for name, least in (
        ("num_training", 0),
        ("num_validation", 0),
        ("num_frames", 32),
        ("frame_size", 16),
        ("frames_per_second", 1),
    ):
        value = parameters[name]
        if value < least:
            raise ValueError(f"render_dataset({name}={value}): expected at least {least}.")
    if parameters["frame_size"] % 2:
        raise ValueError(
            f"render_dataset(frame_size={parameters['frame_size']}): expected an even number of "
            "pixels; colours are stored at half the resolution."
        )


def _check_same(folder: Path, parameters: dict[str, int]) -> None:
    try:
        text = (folder / "annotations.json").read_text(encoding="utf-8")
        found = json.loads(text)["parameters"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"render_dataset(folder={str(folder)!r}): expected a new folder or a rendered set, got "
            "a folder that holds something else. Choose another one."
        ) from error
    wanted = {name: value for name, value in parameters.items() if found.get(name) != value}
    if wanted:
        there = {name: found.get(name) for name in wanted}
        raise ValueError(
            f"render_dataset(folder={str(folder)!r}): expected a set rendered with {wanted}, got "
            f"one with {there}. Choose another folder, or delete this one to render it anew."
        )
