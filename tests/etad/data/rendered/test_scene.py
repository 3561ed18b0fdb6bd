"""Rendered videos: one frame tells nothing about the actions, several do."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from examples.etad.data.rendered.action_times import Instance
from examples.etad.data.rendered.random_numbers import derived_generator
from examples.etad.data.rendered.scene import draw_video

NUM_FRAMES, SIZE = 96, 32
SCHEDULE = [Instance(24, 72, "sweep")]


def draw(seed: int, schedule: list[Instance] = SCHEDULE) -> Tensor:
    return draw_video(
        schedule,
        num_frames=NUM_FRAMES,
        frame_size=SIZE,
        generator=derived_generator((seed,)),
    )


def test_same_seed_same_pixels_and_another_seed_others() -> None:
    assert draw(0).equal(draw(0))
    assert not draw(0).equal(draw(1))
    assert draw(0).shape == (NUM_FRAMES, 3, SIZE, SIZE)
    assert draw(0).dtype == torch.uint8


def test_global_random_state_is_neither_used_nor_changed() -> None:
    before = torch.random.get_rng_state()
    draw(0)
    assert torch.random.get_rng_state().equal(before)


def test_schedule_changes_no_frame_before_the_first_action() -> None:
    moved = [replace(SCHEDULE[0], start=40)]
    first, second = draw(3), draw(3, moved)
    assert first[:24].equal(second[:24])
    assert not first[30].equal(second[30])


@pytest.fixture(scope="module")
def videos() -> Tensor:
    return torch.stack([draw(seed) for seed in range(240)])


def test_one_frame_holds_as_many_sprite_pixels_in_an_action_as_outside(videos: Tensor) -> None:
    videos = videos[:60].float()
    background = videos.median(dim=1, keepdim=True).values
    covered = ((videos - background).abs().amax(dim=2) > 40).float().mean(dim=(2, 3))
    inside, outside = covered[:, 24:72].mean(dim=1), covered[:, :24].mean(dim=1)
    difference = inside - outside
    assert float(difference.mean().abs()) < 5 * float(difference.std()) / len(difference) ** 0.5


def still_statistics(videos: Tensor) -> Tensor:
    """Describe every frame by itself: brightness, spread, and edges by direction."""
    gray = videos.float().mean(dim=2)
    down, right = gray.diff(dim=2)[..., :-1], gray.diff(dim=3)[..., :-1, :]
    parts = (gray.mean(dim=(2, 3)), gray.std(dim=(2, 3)), down.abs().mean(dim=(2, 3)))
    edges = (right.abs().mean(dim=(2, 3)), (down * right).mean(dim=(2, 3)))
    return torch.stack([*parts, *edges], dim=-1)


def motion_statistics(videos: Tensor) -> Tensor:
    """Describe every frame and the next: how far change goes with the edges of each direction."""
    gray = F.avg_pool2d(videos.float().mean(dim=2), 3, stride=1)
    change = gray.diff(dim=1)[..., :-1, :-1]
    # The last frame has no next one: it takes the change of the one before.
    change = torch.cat([change, change[:, -1:]], dim=1)
    down, right = gray.diff(dim=2)[..., :-1], gray.diff(dim=3)[..., :-1, :]
    along = ((change * down).abs().mean(dim=(2, 3)), (change * right).abs().mean(dim=(2, 3)))
    return torch.stack(along, dim=-1).log()


def held_out_auc(statistics: Tensor) -> float:
    """Fit a linear discriminant of action on half of the videos; rank the snippets of the others.

    A snippet of 8 frames is described by the mean over its frames: their order does not count.
    """
    statistics = statistics.unflatten(1, (-1, 8)).mean(dim=2)
    is_action = torch.zeros(NUM_FRAMES // 8, dtype=torch.bool)
    is_action[24 // 8 : 72 // 8] = True
    # Relative to the video's mean: appearance differs from video to video.
    x = statistics - statistics.mean(dim=1, keepdim=True)
    x = x / x.std(dim=(0, 1))
    train, test = x[::2], x[1::2]
    covariance = train.flatten(0, 1).T.cov() + 1e-3 * torch.eye(x.shape[-1])
    between = train[:, is_action].mean(dim=(0, 1)) - train[:, ~is_action].mean(dim=(0, 1))
    score = test @ torch.linalg.solve(covariance, between)
    above = score[:, is_action].flatten()[:, None] > score[:, ~is_action].flatten()[None]
    return float(above.float().mean())


def test_motion_tells_an_action(videos: Tensor) -> None:
    assert held_out_auc(motion_statistics(videos)) > 0.85


def test_one_frame_does_not_tell_an_action(videos: Tensor) -> None:
    # Over independent sets of 120 videos the mean is 0.502 and the standard deviation 0.047.
    assert abs(held_out_auc(still_statistics(videos)) - 0.5) < 0.1


def test_one_frame_that_tells_an_action_is_detected(videos: Tensor) -> None:
    leaking = videos.clone()
    leaking[:, 24:72] = (leaking[:, 24:72].int() + 4).clamp(max=255).to(torch.uint8)
    assert held_out_auc(still_statistics(leaking)) > 0.85
