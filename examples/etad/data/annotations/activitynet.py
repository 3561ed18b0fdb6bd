"""The annotated videos of a subset: which file, and which action instances it holds."""

import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from examples.etad.data.annotations.checks import CheckedVideo, check_video
from examples.etad.data.annotations.json_file import (
    class_names as class_names,
    entries_of,
    read_database,
)

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".ts")
"""Tried in this order where a video exists in several formats."""


@dataclass(frozen=True)
class VideoAnnotation:
    """One video and its action instances.

    Args:
        video_id: Name in the annotation file.
        path: The video file.
        duration_s: Length according to the annotation file; instances are relative to it.
        subset: "training", "validation", ...
        segments_s: (start, end) of each instance, in seconds; empty for a background video.
        labels: Class of each instance.
    """

    video_id: str
    path: Path
    duration_s: float
    subset: str
    segments_s: tuple[tuple[float, float], ...]
    labels: tuple[str, ...]


def load_annotations(
    json_path: Path,
    *,
    video_folder: Path,
    subset: str,
    exclude: Collection[str] = (),
    repair: bool = False,
) -> list[VideoAnnotation]:
    """Read an ActivityNet-format file and find the videos of one subset.

    The whole file is checked first, and all mistakes are reported together.
    Segments that end up to 0.1 s after the video are clipped. Videos without instances are kept:
    they are background.

    Args:
        json_path: The annotation file.
        video_folder: Folder of the files `<id>.mp4` or `v_<id>.mp4`, or of another usual suffix.
        subset: Which videos to read.
        exclude: Ids of videos to leave out, e.g. those that can no longer be downloaded. They may
            belong to other subsets.
        repair: Instead of refusing the file, clip segments to the video, leave out those that are
            empty or repeated, and say so in one warning. Published sets have such instances.

    Returns:
        The videos of the subset, in the order of the file.

    Raises:
        FileNotFoundError: If the annotation file, the folder or any video is missing.
        ValueError: If the file cannot be read, has no such subset, or an entry is invalid.
    """
    json_path = Path(json_path)
    entries = entries_of(read_database(json_path), subset, json_path=json_path)
    videos = {
        video_id: check_video(entry)
        for video_id, entry in entries.items()
        if video_id not in exclude
    }
    _report_problems(videos, json_path=json_path, repair=repair)
    paths = find_videos(Path(video_folder), videos)
    return [
        VideoAnnotation(
            video_id=video_id,
            path=paths[video_id],
            duration_s=video.duration_s,
            subset=subset,
            segments_s=tuple(video.segments_s),
            labels=tuple(video.labels),
        )
        for video_id, video in videos.items()
    ]


def find_videos(video_folder: Path, video_ids: Iterable[str]) -> dict[str, Path]:
    """Return the file of each video.

    Raises:
        FileNotFoundError: If the folder or any file is missing; names all that are.
    """
    if not video_folder.is_dir():
        raise FileNotFoundError(
            f"load_annotations(video_folder={str(video_folder)!r}): there is no such folder. "
            "Pass the one that holds the videos."
        )
    # One listing: looking up every possible name takes minutes on network disks.
    listing = sorted(video_folder.iterdir())
    files: dict[str, Path] = {}
    for suffix in VIDEO_SUFFIXES:
        for path in listing:
            if path.suffix.lower() == suffix:
                files.setdefault(path.stem, path)
    found = {i: files.get(i, files.get(f"v_{i}")) for i in video_ids}
    missing = [video_id for video_id, path in found.items() if path is None]
    if missing:
        raise FileNotFoundError(
            f"load_annotations(video_folder={str(video_folder)!r}): {len(missing)} of {len(found)} "
            f"videos have no file <id>.mp4 or v_<id>.mp4 (or {', '.join(VIDEO_SUFFIXES[1:])}): "
            f"{', '.join(missing)}. Add the files, or leave these videos out with `exclude`; "
            "results then no longer compare with those of the whole set."
        )
    return {video_id: path for video_id, path in found.items() if path is not None}


def _report_problems(videos: Mapping[str, CheckedVideo], *, json_path: Path, repair: bool) -> None:
    broken = [f"video {i!r}, {text}" for i, v in videos.items() for text in v.broken]
    repairable = [f"video {i!r}, {text}" for i, v in videos.items() for text in v.repairable]
    name = f"load_annotations(json_path={str(json_path)!r})"
    problems = broken if repair else broken + repairable
    if problems:
        cure = "Correct the file."
        if repairable and not repair:
            cure = (
                "Correct the file; or pass repair=True, which clips segments to the video and "
                "leaves out instances that are empty or repeated."
            )
        listed = "\n  ".join(problems)
        raise ValueError(f"{name}: {len(problems)} invalid entries:\n  {listed}\n{cure}")
    if repairable:
        listed = "\n  ".join(repairable)
        warnings.warn(
            f"{name}: repaired {len(repairable)} problems by clipping or leaving out the "
            f"instance:\n  {listed}",
            stacklevel=3,
        )
