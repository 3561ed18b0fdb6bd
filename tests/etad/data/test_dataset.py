import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from examples.etad.data.annotations.activitynet import VideoAnnotation
from examples.etad.data.dataset import Batch, Item, VideoDataset, collate
from examples.etad.data.snippets.augmentation import Augmentation
from sgs import SourceBatch

NUM_FRAMES = 24
CLASSES = ("dive", "jump")
AUGMENTATION = Augmentation(seed=5, horizontal_flip=True)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[VideoAnnotation]:
    """Four videos of 24 frames with a gradient, so that crops and flips show."""
    folder = tmp_path_factory.mktemp("videos")
    rows, columns = np.mgrid[:32, :40]
    for item in range(4):
        with av.open(str(folder / f"{item}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=12, options={"crf": "5"})
            stream.width, stream.height, stream.pix_fmt = 40, 32, "yuv420p"
            for number in range(NUM_FRAMES):
                gray = 4 * number + 2 * columns + rows + 5 * item
                pixels = np.repeat(gray[..., None], 3, axis=-1).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
    return [
        VideoAnnotation(
            video_id=f"video{item}",
            path=folder / f"{item}.mp4",
            duration_s=2.0,
            subset="training",
            segments_s=((0.5, 1.0),) * item,
            labels=("jump",) * item,
        )
        for item in range(4)
    ]


def open_dataset(videos: list[VideoAnnotation], **options: Any) -> VideoDataset:
    settings = {
        "num_snippets": 6,
        "frames_per_snippet": 4,
        "frame_size": 16,
        "resize_size": (32, 40),
        "classes": CLASSES,
    }
    return VideoDataset(videos, **{**settings, **options})


def frames_of(item: Item | Batch) -> torch.Tensor:
    source = item["frames"]
    rows = source.fetch(torch.arange(len(source)))
    return rows.unflatten(0, source.lead_shape) if isinstance(source, SourceBatch) else rows


def all_frames(dataset: VideoDataset) -> torch.Tensor:
    return torch.stack([frames_of(dataset[item]) for item in range(len(dataset))])


def test_item_has_the_documented_tensors(videos: list[VideoAnnotation]) -> None:
    item = open_dataset(videos)[2]
    assert frames_of(item).shape == (6, 3, 4, 16, 16)
    assert frames_of(item).dtype == torch.uint8
    assert frames_of(item).is_contiguous()
    assert item["gt_segments"].dtype == torch.float32
    assert torch.equal(item["gt_segments"], torch.tensor([[0.25, 0.5], [0.25, 0.5]]))
    assert item["gt_labels"].tolist() == [1, 1]
    assert item["gt_labels"].dtype == torch.int64
    assert (item["video_id"], item["duration_s"]) == ("video2", 2.0)


def test_video_without_actions_has_empty_ground_truth(videos: list[VideoAnnotation]) -> None:
    item = open_dataset(videos)[0]
    assert item["gt_segments"].shape == (0, 2)
    assert item["gt_labels"].shape == (0,)
    assert item["gt_labels"].dtype == torch.int64


def test_frames_are_those_of_the_video_in_order(videos: list[VideoAnnotation]) -> None:
    frames = frames_of(open_dataset(videos, frame_size=32)[1])
    # Snippets and frames together run through the 24 frames; columns 4 to 35 are in the middle.
    gray = frames.float().mean(dim=(1, 3, 4)).flatten()
    expected = 4.0 * torch.arange(NUM_FRAMES) + 2 * 19.5 + 15.5 + 5
    assert (gray - expected).abs().max() < 1.5


def test_evaluation_sees_the_middle(videos: list[VideoAnnotation]) -> None:
    whole = frames_of(open_dataset(videos, frame_size=32)[1])
    middle = frames_of(open_dataset(videos, frame_size=16)[1])
    assert torch.equal(middle, whole[..., 8:24, 8:24])


def test_without_resize_size_frames_are_scaled_to_the_frame_size(
    videos: list[VideoAnnotation],
) -> None:
    frames = frames_of(open_dataset(videos, resize_size=None)[0])
    assert frames.shape == (6, 3, 4, 16, 16)
    columns = frames[0, 0, 0].float().mean(dim=0)
    assert columns[-1] - columns[0] > 60  # All 40 columns, 2 gray levels each.


def test_placement_and_stride_are_used(videos: list[VideoAnnotation]) -> None:
    options = {"num_snippets": 2, "frames_per_snippet": 3}
    for choice, expected in [
        ({}, [[5, 6, 7], [17, 18, 19]]),
        ({"frame_stride": 2}, [[4, 6, 8], [16, 18, 20]]),
        ({"placement": "official"}, [[0, 1, 2], [21, 22, 23]]),
    ]:
        frames = frames_of(open_dataset(videos, **options, **choice)[0])
        gray = frames[:, 0].float().mean(dim=(-2, -1))
        # Middle rows 8 to 23 and columns 12 to 27.
        number = (gray - 2 * 19.5 - 15.5) / 4
        assert number.round().long().tolist() == expected


def test_video_shorter_than_one_snippet_loads(videos: list[VideoAnnotation]) -> None:
    for placement in ("centred", "official"):
        dataset = open_dataset(videos, frames_per_snippet=64, placement=placement)
        assert frames_of(dataset[0]).shape == (6, 3, 64, 16, 16)


def test_one_video_without_subset_and_actions_loads(videos: list[VideoAnnotation]) -> None:
    video = replace(videos[1], subset="", segments_s=(), labels=())
    batch = collate([open_dataset([video], classes=("action",))[0]])
    assert frames_of(batch).shape == (1, 6, 3, 4, 16, 16)
    assert batch["gt_segments"][0].shape == (0, 2)


def test_negative_position_counts_from_the_end(videos: list[VideoAnnotation]) -> None:
    dataset = open_dataset(videos, augmentation=AUGMENTATION)
    assert torch.equal(frames_of(dataset[-1]), frames_of(dataset[3]))
    with pytest.raises(IndexError, match="out of range"):
        dataset[4]


def test_augmentation_is_the_same_for_all_frames_of_a_video(videos: list[VideoAnnotation]) -> None:
    for item in range(4):
        frames = frames_of(open_dataset(videos, augmentation=AUGMENTATION)[item]).float()
        # Frame t is frame 0 plus 4 t in every pixel, if all were cut out at the same place.
        steps = frames.transpose(1, 2).flatten(0, 1) - 4 * torch.arange(24.0).view(-1, 1, 1, 1)
        assert (steps - steps[0]).abs().max() < 6


def test_augmentation_changes_with_epoch_and_seed_and_comes_back(
    videos: list[VideoAnnotation],
) -> None:
    dataset = open_dataset(videos, augmentation=AUGMENTATION)
    first = all_frames(dataset)
    dataset.set_epoch(1)
    assert not torch.equal(all_frames(dataset), first)
    dataset.set_epoch(0)
    assert torch.equal(all_frames(dataset), first)
    other = open_dataset(videos, augmentation=replace(AUGMENTATION, seed=6))
    assert not torch.equal(all_frames(other), first)


# On a single core.
@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes:UserWarning")
def test_workers_do_not_change_the_data_and_see_the_epoch(videos: list[VideoAnnotation]) -> None:
    dataset = open_dataset(videos, augmentation=AUGMENTATION)
    loader = DataLoader(
        dataset, batch_size=2, num_workers=2, persistent_workers=True, collate_fn=collate
    )
    epochs = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        expected = all_frames(dataset)
        found = torch.cat([frames_of(batch) for batch in loader])
        assert torch.equal(found, expected)
        epochs.append(found)
    assert not torch.equal(*epochs)


def test_cache_gives_the_same_data_and_reads_each_file_once(
    videos: list[VideoAnnotation], tmp_path: Path
) -> None:
    copies = []
    for video in videos:
        path = tmp_path / video.path.name
        path.write_bytes(video.path.read_bytes())
        copies.append(replace(video, path=path))
    plain = open_dataset(videos, augmentation=AUGMENTATION)
    cached = open_dataset(copies, augmentation=AUGMENTATION, cache=True)
    assert torch.equal(all_frames(cached), all_frames(plain))
    for video in copies:
        video.path.unlink()
    for epoch in range(3):
        plain.set_epoch(epoch)
        cached.set_epoch(epoch)
        assert torch.equal(all_frames(cached), all_frames(plain))


def test_changing_an_item_leaves_the_cache(videos: list[VideoAnnotation]) -> None:
    # Frames of the full size, where a view could be the cache itself.
    for size in ({"frame_size": 32, "resize_size": None}, {"num_snippets": 1}):
        dataset = open_dataset(videos, cache=True, **size)
        before = frames_of(dataset[0]).clone()
        frames_of(dataset[0]).zero_()
        assert torch.equal(frames_of(dataset[0]), before)


def test_cache_bytes_count_every_distinct_frame_before_the_crop(
    videos: list[VideoAnnotation],
) -> None:
    dataset = open_dataset(videos, cache=True)
    assert dataset.cache_bytes == 0
    dataset[0]
    assert dataset.cache_bytes == NUM_FRAMES * 3 * 32 * 40
    dataset.preload(progress=False)
    assert dataset.cache_bytes == 4 * NUM_FRAMES * 3 * 32 * 40
    overlapping = open_dataset(videos[:1], cache=True, num_snippets=30)
    overlapping.preload(progress=False)
    assert overlapping.cache_bytes == NUM_FRAMES * 3 * 32 * 40
    uncached = open_dataset(videos)
    uncached[0]
    assert uncached.cache_bytes == 0


def test_preload_needs_a_cache(videos: list[VideoAnnotation]) -> None:
    with pytest.raises(ValueError, match=r"expected a cache to preload, got none. Pass cache=True"):
        open_dataset(videos).preload()


def test_preload_shows_progress_if_asked(
    videos: list[VideoAnnotation], capsys: pytest.CaptureFixture[str]
) -> None:
    open_dataset(videos, cache=True).preload(progress=False)
    assert capsys.readouterr().err == ""
    open_dataset(videos, cache=True).preload()
    assert "decode" in capsys.readouterr().err


def test_workers_share_the_preloaded_cache(videos: list[VideoAnnotation], tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(videos[0].path.read_bytes())
    dataset = open_dataset([replace(videos[0], path=path)] * 2, cache=True)
    dataset.preload(progress=False)
    path.unlink()
    loader = DataLoader(dataset, num_workers=1, collate_fn=collate, multiprocessing_context="fork")
    assert sum(len(batch["video_id"]) for batch in loader) == 2


def test_duration_that_disagrees_names_both_and_the_file(videos: list[VideoAnnotation]) -> None:
    wrong = replace(videos[1], duration_s=2.2)
    with pytest.raises(
        ValueError, match=r"1.mp4': expected 2.2 s, as annotated, got 2 s.* duration_tolerance=0.05"
    ):
        open_dataset([wrong])[0]
    assert open_dataset([wrong], duration_tolerance=0.1)[0]["duration_s"] == 2.2
    assert open_dataset([replace(videos[1], duration_s=2.05)])[0]["duration_s"] == 2.05


def test_ground_truth_is_normalised_by_the_annotated_duration(
    videos: list[VideoAnnotation],
) -> None:
    video = replace(videos[1], duration_s=2.05, segments_s=((0.41, 2.05),))
    segments = open_dataset([video])[0]["gt_segments"]
    torch.testing.assert_close(segments, torch.tensor([[0.2, 1.0]]))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_error_while_loading_names_the_file(
    videos: list[VideoAnnotation], tmp_path: Path, num_workers: int
) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video")
    dataset = open_dataset([videos[0], replace(videos[1], path=path)])
    loader = DataLoader(dataset, num_workers=num_workers, collate_fn=collate)
    with pytest.raises(ValueError, match=r"broken.mp4': cannot be decoded") as caught:
        list(loader)
    # Else the traceback keeps the loader, and its late collection waits 5 s for the worker.
    traceback.clear_frames(caught.tb)


def test_missing_file_in_a_worker_is_named(videos: list[VideoAnnotation], tmp_path: Path) -> None:
    dataset = open_dataset([replace(videos[1], path=tmp_path / "none.mp4")])
    with pytest.raises(FileNotFoundError, match=r"none.mp4': there is no such file") as caught:
        list(DataLoader(dataset, num_workers=1, collate_fn=collate))
    traceback.clear_frames(caught.tb)


def test_collate_joins_videos_of_different_ground_truth(videos: list[VideoAnnotation]) -> None:
    dataset = open_dataset(videos)
    items = [dataset[3], dataset[0]]
    batch = collate(items)
    assert frames_of(batch).shape == (2, 6, 3, 4, 16, 16)
    assert torch.equal(frames_of(batch)[1], frames_of(items[1]))
    assert [len(segments) for segments in batch["gt_segments"]] == [3, 0]
    assert [labels.tolist() for labels in batch["gt_labels"]] == [[1, 1, 1], []]
    assert batch["video_id"] == ["video3", "video0"]
    assert batch["duration_s"].dtype == torch.float64
    assert batch["duration_s"].tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_size": 0}, r"VideoDataset\(frame_size=0\): expected a crop of at least one pixel"),
        ({"frame_size": 33}, r"frame_size=33\): .*fits into frames of resize_size=\(32, 40\)"),
        ({"placement": "random"}, r"placement='random'\): expected one of 'centred', 'official'"),
        ({"num_snippets": 0}, r"num_snippets=0\): expected at least 1"),
        ({"frames_per_snippet": 0}, r"frames_per_snippet=0\): expected at least 1"),
        ({"frame_stride": 0}, r"frame_stride=0\): expected at least 1"),
        ({"classes": ("dive",)}, r"classes=\('dive',\)\): expected every label .*missing 'jump'"),
        ({"classes": ("jump", "jump")}, r"classes=.*: expected distinct names"),
    ],
)
def test_bad_argument_is_refused_before_any_video_is_read(
    videos: list[VideoAnnotation], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        open_dataset(videos, **options)


def test_frames_are_decoded_no_further_than_asked_for(videos: list[VideoAnnotation]) -> None:
    source = open_dataset(videos)[1]["frames"]
    assert source.clip.pixels.num_decoded == 0
    first = source.fetch(torch.tensor([0, 1]))
    assert source.clip.pixels.num_decoded == 8
    source.fetch(torch.tensor([4]))
    assert source.clip.pixels.num_decoded == 20
    # What is decoded is kept for the second pass.
    assert torch.equal(source.fetch(torch.tensor([0, 1])), first)
    assert source.clip.pixels.num_decoded == 20


def test_frames_on_demand_are_those_decoded_at_once(videos: list[VideoAnnotation]) -> None:
    for options in ({}, {"placement": "official", "frames_per_snippet": 64}, {"num_snippets": 40}):
        now, later = (open_dataset(videos, cache=cache, **options) for cache in (True, False))
        assert isinstance(now[1]["frames"].clip.pixels, torch.Tensor)
        assert torch.equal(all_frames(now), all_frames(later))


def test_damaged_file_is_named_when_its_frames_are_asked_for(
    videos: list[VideoAnnotation], tmp_path: Path
) -> None:
    path = tmp_path / "moved.mp4"
    path.write_bytes(videos[1].path.read_bytes())
    source = open_dataset([replace(videos[1], path=path)])[0]["frames"]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"moved.mp4': there is no such file"):
        source.fetch(torch.tensor([0]))
