"""Checking the annotations of one video."""

import math
from dataclasses import dataclass, field
from typing import Any, TypeGuard

END_TOLERANCE_S = 0.1
"""Segments that end this little after the video are clipped: durations are rounded differently."""


@dataclass
class CheckedVideo:
    """The readable part of a video's entry, and its mistakes.

    Args:
        duration_s: Length of the video, in seconds.
        segments_s: Usable segments, clipped to the video.
        labels: Their labels.
        broken: Mistakes that only an edit of the file can correct.
        repairable: Mistakes corrected in `segments_s` by clipping or leaving out an instance.
    """

    duration_s: float = math.nan
    segments_s: list[tuple[float, float]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    repairable: list[str] = field(default_factory=list)


def check_video(entry: dict[str, Any]) -> CheckedVideo:
    """Read the entry of one video and collect its mistakes; annotations are numbered from 1."""
    video = CheckedVideo()
    duration_s = entry.get("duration")
    if not _is_number(duration_s) or duration_s <= 0:
        video.broken.append(f"duration: expected seconds above 0, got {_shown(entry, 'duration')}")
    annotations = entry.get("annotations")
    if not isinstance(annotations, list):
        got = _shown(entry, "annotations")
        video.broken.append(f"annotations: expected a list, empty for no action, got {got}")
    if video.broken:
        return video
    video.duration_s = float(entry["duration"])
    for number, annotation in enumerate(entry["annotations"], start=1):
        _check_annotation(annotation, video, where=f"annotation {number}")
    return video


def _check_annotation(annotation: Any, video: CheckedVideo, *, where: str) -> None:
    if not isinstance(annotation, dict):
        video.broken.append(f"{where}: expected an object, got {annotation!r}")
        return
    segment, label = annotation.get("segment"), annotation.get("label")
    if not isinstance(label, str) or not label:
        got = _shown(annotation, "label")
        video.broken.append(f"{where}: label: expected a name, got {got}")
    elif not _is_segment(segment):
        got = _shown(annotation, "segment")
        video.broken.append(f"{where}: segment: expected [start, end] in seconds, got {got}")
    else:
        _check_instance((float(segment[0]), float(segment[1])), label, video, where=where)


def _check_instance(
    segment_s: tuple[float, float], label: str, video: CheckedVideo, *, where: str
) -> None:
    start_s, end_s = segment_s
    problems = []
    if start_s < 0:
        problems.append(f"starts at {start_s:g} s, before the video")
    if end_s > video.duration_s + END_TOLERANCE_S:
        problems.append(f"ends at {end_s:g} s, after the video's {video.duration_s:g} s")
    clipped_s = (max(start_s, 0.0), min(end_s, video.duration_s))
    is_empty = clipped_s[1] <= clipped_s[0]
    is_repeated = (clipped_s, label) in zip(video.segments_s, video.labels, strict=True)
    if end_s <= start_s:
        problems.append(f"ends at {end_s:g} s, not after its start at {start_s:g} s")
    elif is_empty and not problems:
        problems.append(f"starts at {start_s:g} s, at the end of the video")
    elif is_repeated:
        problems.append(f"repeats {label!r} from {start_s:g} s to {end_s:g} s")
    video.repairable.extend(f"{where}: {problem}" for problem in problems)
    if not is_empty and not is_repeated:
        video.segments_s.append(clipped_s)
        video.labels.append(label)


def _is_number(value: Any) -> TypeGuard[float]:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def _is_segment(value: Any) -> TypeGuard[list[float]]:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _shown(entry: dict[str, Any], key: str) -> str:
    return repr(entry[key]) if key in entry else "nothing: the key is missing"
