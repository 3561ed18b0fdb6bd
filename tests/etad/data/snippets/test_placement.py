import pytest
import torch

from examples.etad.data.snippets.placement import PLACEMENTS, centred_snippets, official_snippets

BOTH = pytest.mark.parametrize("place", PLACEMENTS.values(), ids=PLACEMENTS)


@pytest.mark.parametrize("frames_per_snippet", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("num_snippets", [1, 2, 7, 128])
def test_fitting_video_is_cut_without_gap_or_overlap(
    num_snippets: int, frames_per_snippet: int
) -> None:
    num_frames = num_snippets * frames_per_snippet
    index = centred_snippets(
        num_frames, num_snippets=num_snippets, frames_per_snippet=frames_per_snippet
    )
    assert index.dtype == torch.int64
    assert torch.equal(index, torch.arange(num_frames).reshape(num_snippets, -1))


@pytest.mark.parametrize(
    ("num_frames", "stride", "expected"),
    [
        # Cells [0, 6) and [6, 12): two frames around 3 and around 9.
        (12, 1, [[2, 3], [8, 9]]),
        # Frames of a snippet 2 apart; its extent is 3 frames, 1.5 before the middle.
        (12, 2, [[2, 4], [8, 10]]),
        # Cells of 1.5 frames: starts -0.25 and 1.25.
        (3, 1, [[0, 1], [1, 2]]),
        # Middles 0.5 and 1.5: starts -0.5 and 0.5, halves go up.
        (2, 1, [[0, 1], [1, 1]]),
        (1, 1, [[0, 0], [0, 0]]),
    ],
)
def test_centred_snippets_of_hand_made_cases(
    num_frames: int, stride: int, expected: list[list[int]]
) -> None:
    index = centred_snippets(num_frames, num_snippets=2, frames_per_snippet=2, frame_stride=stride)
    assert index.tolist() == expected


@pytest.mark.parametrize("num_frames", [250, 2048, 3600, 27_001])
def test_middle_of_centred_snippet_is_within_half_a_frame_of_the_cell(num_frames: int) -> None:
    index = centred_snippets(num_frames, num_snippets=100, frames_per_snippet=1)
    middles = (torch.arange(100) + 0.5) * num_frames / 100
    assert ((index[:, 0] + 0.5) - middles).abs().max() <= 0.5


def test_snippet_at_the_end_repeats_the_last_frame() -> None:
    index = centred_snippets(20, num_snippets=10, frames_per_snippet=6)
    assert index[0].tolist() == [0, 0, 0, 1, 2, 3]
    assert index[-1].tolist() == [16, 17, 18, 19, 19, 19]


def test_video_shorter_than_a_snippet_repeats_its_ends_or_is_looped() -> None:
    centred = centred_snippets(3, num_snippets=1, frames_per_snippet=7)
    assert centred.tolist() == [[0, 0, 0, 1, 2, 2, 2]]
    looped = official_snippets(3, num_snippets=2, frames_per_snippet=7)
    assert looped.tolist() == [[0, 1, 2, 0, 1, 2, 0]] * 2


@pytest.mark.parametrize("num_frames", [17, 100, 2048, 3600])
def test_official_snippets_against_their_formula(num_frames: int) -> None:
    index = official_snippets(num_frames, num_snippets=128, frames_per_snippet=16)
    # Python's round, too, takes halves to the even number.
    start = [round(i * ((num_frames - 16) / 127)) for i in range(128)]
    assert index.tolist() == [list(range(first, first + 16)) for first in start]
    assert index[0, 0] == 0
    assert index[-1, -1] == num_frames - 1


def test_official_snippets_are_off_their_cells_by_the_documented_distance() -> None:
    official = official_snippets(3600, num_snippets=128, frames_per_snippet=16)
    centred = centred_snippets(3600, num_snippets=128, frames_per_snippet=16)
    difference = official[:, 0] - centred[:, 0]
    assert difference[0] == -6
    assert difference[-1] == 6


def test_single_official_snippet_is_in_the_middle() -> None:
    index = official_snippets(10, num_snippets=1, frames_per_snippet=4)
    assert index.tolist() == [[3, 4, 5, 6]]


def test_official_stride_counts_for_the_extent() -> None:
    index = official_snippets(10, num_snippets=2, frames_per_snippet=2, frame_stride=3)
    assert index.tolist() == [[0, 3], [4, 7]]


@BOTH
@pytest.mark.parametrize("num_frames", [1, 2, 5, 16, 17, 63, 1000])
@pytest.mark.parametrize("frame_stride", [1, 3])
def test_all_frames_exist_for_any_length(place, num_frames: int, frame_stride: int) -> None:
    index = place(num_frames, num_snippets=9, frames_per_snippet=16, frame_stride=frame_stride)
    assert index.shape == (9, 16)
    assert index.min() >= 0
    assert index.max() < num_frames


@BOTH
@pytest.mark.parametrize(
    "argument", ["num_frames", "num_snippets", "frames_per_snippet", "frame_stride"]
)
def test_count_below_one_is_refused(place, argument: str) -> None:
    counts = {"num_frames": 9, "num_snippets": 2, "frames_per_snippet": 2, "frame_stride": 1}
    counts[argument] = 0
    with pytest.raises(ValueError, match=rf"snippets\({argument}=0\): expected at least 1, got 0"):
        place(counts.pop("num_frames"), **counts)
