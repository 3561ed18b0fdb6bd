import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from examples.etad.data.annotations.activitynet import (
    VideoAnnotation,
    class_names,
    load_annotations,
)


def write(folder: Path, database: dict[str, Any], *, suffix: str = ".mp4") -> Path:
    """Write annotations, and an empty file for every video."""
    videos = folder / "videos"
    videos.mkdir(exist_ok=True)
    for video_id in database:
        (videos / f"{video_id}{suffix}").touch()
    path = folder / "annotations.json"
    path.write_text(json.dumps({"database": database}))
    return path


def entry(*actions: Any, duration: Any = 10, subset: str = "training") -> dict[str, Any]:
    return {"subset": subset, "duration": duration, "annotations": list(actions)}


def action(start: Any, end: Any, label: Any = "jump") -> dict[str, Any]:
    return {"segment": [start, end], "label": label}


def load(path: Path, **options: Any) -> list[VideoAnnotation]:
    options = {"subset": "training", "video_folder": path.parent / "videos", **options}
    return load_annotations(path, **options)


def test_videos_of_the_subset_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "b": entry(action(1, 2.5), action(4, 9, "run"), duration=10.5),
            "c": entry(action(0, 1), subset="validation"),
            "a": entry(),
        },
    )
    first, second = load(path)
    assert first == VideoAnnotation(
        video_id="b",
        path=tmp_path / "videos" / "b.mp4",
        duration_s=10.5,
        subset="training",
        segments_s=((1.0, 2.5), (4.0, 9.0)),
        labels=("jump", "run"),
    )
    assert (second.video_id, second.segments_s, second.labels) == ("a", (), ())
    assert [video.video_id for video in load(path, subset="validation")] == ["c"]


@pytest.mark.parametrize("name", ["x.mp4", "v_x.mp4", "x.MKV", "v_x.webm", "x.avi", "x.mov"])
def test_file_is_found_by_each_of_its_names(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, {"x": entry()}, suffix=".txt")
    (tmp_path / "videos" / name).touch()
    assert load(path)[0].path.name == name


def test_name_without_prefix_and_mp4_go_first(tmp_path: Path) -> None:
    path = write(tmp_path, {"x": entry()})
    for name in ("v_x.mp4", "x.mkv", "x.avi"):
        (tmp_path / "videos" / name).touch()
    assert load(path)[0].path.name == "x.mp4"


def test_id_with_dots_is_not_taken_for_a_suffix(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.b": entry()})
    assert load(path)[0].path.name == "a.b.mp4"


def test_all_missing_videos_are_reported_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": entry(), "b": entry(), "c": entry()})
    for video_id in "ac":
        (tmp_path / "videos" / f"{video_id}.mp4").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"2 of 3 videos have no file .*: a, c\. Add the files, or leave"
    ):
        load(path)
    assert [video.video_id for video in load(path, exclude=["a", "c"])] == ["b"]


def test_excluded_ids_need_not_exist_and_are_not_checked(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": entry(), "b": entry(action(3, 2))})
    assert [video.video_id for video in load(path, exclude={"b", "elsewhere"})] == ["a"]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": entry()})
    with pytest.raises(FileNotFoundError, match=r"nowhere'\): there is no such folder"):
        load(path, video_folder=tmp_path / "nowhere")


def test_missing_annotation_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.json'\): there is no such file"):
        load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"database": ', "cannot be parsed"),
        (b"\xff\xfe\xff", "cannot be parsed"),
        ("[]", "expected the ActivityNet format"),
        ('{"videos": {}}', "expected the ActivityNet format"),
        ('{"database": []}', "expected the ActivityNet format"),
        ('{"database": {"a": 3}}', "expected the ActivityNet format"),
        ('{"database": {"a": {}, "a": {}}}', "occur more than once: 'a'"),
        ('{"database": {"a": {}}}', "expected a subset for every video; missing for 'a'"),
        ('{"database": {}}', "has no videos"),
    ],
)
def test_malformed_file_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"bad\.json.*{re.escape(message)}"):
        load(path, video_folder=tmp_path)


def test_unknown_subset_lists_those_present(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": entry(), "b": entry(), "c": entry(subset="validation")})
    with pytest.raises(
        ValueError, match=r"subset='test'\).*'training' \(2 videos\), 'validation' \(1 videos\)"
    ):
        load(path, subset="test")


BROKEN_ACTIONS = [
    (action(1, float("nan")), r"segment: expected \[start, end\] in seconds, got \[1, nan\]"),
    (action(1, float("inf")), r"segment: expected \[start, end\]"),
    (action("1", 2), r"segment: expected \[start, end\]"),
    (action(None, 2), r"segment: expected \[start, end\]"),
    (action(True, 2), r"segment: expected \[start, end\]"),
    ({"segment": [1], "label": "jump"}, r"segment: expected \[start, end\]"),
    ({"segment": 3, "label": "jump"}, r"segment: expected \[start, end\]"),
    ({"label": "jump"}, "segment: .*the key is missing"),
    ({"segment": [1, 2]}, "label: expected a name, got nothing: the key is missing"),
    (action(1, 2, 7), "label: expected a name, got 7"),
    (action(1, 2, ""), "label: expected a name, got ''"),
    ("jump", "expected an object, got 'jump'"),
]
WRONG_ACTIONS = [
    (action(3, 3), "ends at 3 s, not after its start at 3 s"),
    (action(3, 2), "ends at 2 s, not after its start at 3 s"),
    (action(-1, 2), "starts at -1 s, before the video"),
    (action(9, 10.2), "ends at 10.2 s, after the video's 10 s"),
    (action(10, 10.05), "starts at 10 s, at the end of the video"),
    (action(4, 5), "repeats 'jump' from 4 s to 5 s"),
]


@pytest.mark.parametrize(("bad", "message"), BROKEN_ACTIONS + WRONG_ACTIONS)
def test_bad_action_is_named_by_file_video_and_number(
    tmp_path: Path, bad: Any, message: str
) -> None:
    path = write(tmp_path, {"good": entry(action(4, 5)), "x": entry(action(4, 5), bad)})
    with pytest.raises(ValueError, match=rf"annotations.json(.|\n)*'x', annotation 2: .*{message}"):
        load(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("duration", 0, "duration: expected seconds above 0, got 0"),
        ("duration", -3, "duration: expected seconds above 0, got -3"),
        ("duration", float("nan"), "duration: expected seconds above 0, got nan"),
        ("duration", "10", "duration: expected seconds above 0, got '10'"),
        ("duration", None, "duration: expected seconds above 0, got None"),
        ("annotations", None, "annotations: expected a list"),
        ("annotations", {"segment": [1, 2]}, "annotations: expected a list"),
    ],
)
@pytest.mark.parametrize("repair", [False, True])
def test_bad_entry_is_an_error_even_if_repair_is_on(
    tmp_path: Path, key: str, value: Any, message: str, repair: bool
) -> None:
    path = write(tmp_path, {"x": {**entry(), key: value}})
    with pytest.raises(ValueError, match=rf"annotations.json(.|\n)*video 'x', {message}"):
        load(path, repair=repair)


@pytest.mark.parametrize("key", ["duration", "annotations"])
def test_missing_key_of_an_entry_is_named(tmp_path: Path, key: str) -> None:
    incomplete = entry()
    del incomplete[key]
    path = write(tmp_path, {"x": incomplete})
    with pytest.raises(ValueError, match=rf"'x', {key}: .*the key is missing"):
        load(path)


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "a": entry(action(3, 2), action(1, 2), action(-1, 2)),
            "b": entry(duration=0),
            "c": entry(action(1, 2), action(1, 2)),
        },
    )
    with pytest.raises(ValueError, match="4 invalid entries") as caught:
        load(path)
    for place in ("'a', annotation 1", "'a', annotation 3", "'b', duration", "'c', annotation 2"):
        assert place in str(caught.value)
    assert "'a', annotation 2" not in str(caught.value)
    assert "pass repair=True" in str(caught.value)


def test_end_within_a_tenth_of_a_second_is_clipped_silently(tmp_path: Path) -> None:
    path = write(tmp_path, {"x": entry(action(4, 10.09))})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(path)[0].segments_s == ((4.0, 10.0),)


def test_equal_segments_with_different_labels_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path, {"x": entry(action(1, 2), action(1, 2, "run"))})
    assert load(path)[0].labels == ("jump", "run")


def test_repair_clips_or_leaves_out_and_warns_once_with_the_count(tmp_path: Path) -> None:
    wrong = [bad for bad, _ in WRONG_ACTIONS]
    path = write(tmp_path, {"x": entry(action(4, 5), *wrong), "y": entry(action(2, 1))})
    with pytest.warns(UserWarning, match="repaired 7 problems") as caught:
        first, second = load(path, repair=True)
    assert len(caught) == 1
    assert Path(caught[0].filename) == Path(__file__)
    assert first.segments_s == ((4.0, 5.0), (0.0, 2.0), (9.0, 10.0))
    assert first.labels == ("jump",) * 3
    assert second.segments_s == ()


@pytest.mark.parametrize("bad", [bad for bad, _ in BROKEN_ACTIONS])
def test_repair_does_not_guess_what_cannot_be_read(tmp_path: Path, bad: Any) -> None:
    path = write(tmp_path, {"x": entry(bad, action(2, 1))})
    with pytest.raises(ValueError, match=r"1 invalid entries:\n  video 'x', annotation 1"):
        load(path, repair=True)


def test_class_names_are_the_sorted_labels_of_all_subsets(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "a": entry(action(1, 2, "run"), action(3, 4, "jump")),
            "b": entry(action(1, 2, "dive"), action(1, 2, "run"), subset="validation"),
            "c": entry(),
        },
    )
    assert class_names(path) == ("dive", "jump", "run")


def test_class_names_need_a_label_everywhere(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": entry({"segment": [1, 2]})})
    with pytest.raises(ValueError, match=r"annotations.json'\): expected a label, a string"):
        class_names(path)


def test_class_names_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.json'\): there is no such file"):
        class_names(tmp_path / "none.json")
