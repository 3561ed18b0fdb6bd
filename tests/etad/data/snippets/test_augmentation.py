from collections import Counter

import pytest
import torch

from examples.etad.data.snippets.augmentation import Augmentation, View, centre_view, draw_view

FRAMES = torch.arange(2 * 3 * 6 * 8).to(torch.uint8).reshape(2, 3, 6, 8)


def draw(augmentation: Augmentation, *, epoch: int = 0, item: int = 0) -> View:
    return draw_view(augmentation, epoch=epoch, item=item, resize_size=(6, 8), size=4)


def test_view_is_the_same_part_of_every_frame() -> None:
    seen = View(top=1, left=3, size=4, is_flipped=False).apply(FRAMES)
    assert torch.equal(seen, FRAMES[:, :, 1:5, 3:7])


def test_mirrored_view_exchanges_left_and_right_only() -> None:
    seen = View(top=1, left=3, size=4, is_flipped=True).apply(FRAMES)
    assert torch.equal(seen, FRAMES[:, :, 1:5, [6, 5, 4, 3]])


def test_centre_view_leaves_equal_margins() -> None:
    assert centre_view((6, 8), size=4) == View(top=1, left=2, size=4, is_flipped=False)
    assert centre_view((4, 4), size=4) == View(top=0, left=0, size=4, is_flipped=False)


def test_view_is_a_function_of_seed_epoch_and_item() -> None:
    augmentation = Augmentation(seed=3, horizontal_flip=True)
    keys = [(epoch, item) for epoch in range(5) for item in range(5)]
    views = [draw(augmentation, epoch=epoch, item=item) for epoch, item in keys]
    again = [draw(augmentation, epoch=epoch, item=item) for epoch, item in reversed(keys)]
    assert views == again[::-1]


@pytest.mark.parametrize("changed", ["seed", "epoch", "item"])
def test_each_of_seed_epoch_and_item_changes_the_view(changed: str) -> None:
    views = set()
    for number in range(40):
        place = {"epoch": 0, "item": 0}
        seed = number if changed == "seed" else 0
        if changed != "seed":
            place[changed] = number
        views.add(draw(Augmentation(seed=seed), **place))
    assert len(views) > 8


def test_epochs_and_items_are_not_exchangeable() -> None:
    augmentation = Augmentation(horizontal_flip=True)
    pairs = [(a, b) for a in range(8) for b in range(a)]
    assert any(
        draw(augmentation, epoch=a, item=b) != draw(augmentation, epoch=b, item=a) for a, b in pairs
    )


def test_global_random_state_is_neither_used_nor_changed() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = draw(Augmentation())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert draw(Augmentation()) == first


def test_every_place_occurs_about_equally_often() -> None:
    views = [draw(Augmentation(horizontal_flip=True), item=item) for item in range(1500)]
    counts = Counter((view.top, view.left) for view in views)
    # 3 rows by 5 columns fit; 100 each, standard deviation 10.
    assert len(counts) == 15
    assert min(counts.values()) > 50
    assert max(counts.values()) < 150
    assert 650 < sum(view.is_flipped for view in views) < 850


def test_flip_is_off_unless_asked_for() -> None:
    assert not any(draw(Augmentation(), item=item).is_flipped for item in range(50))


def test_crop_is_central_if_not_random() -> None:
    augmentation = Augmentation(random_crop=False, horizontal_flip=True)
    views = [draw(augmentation, item=item) for item in range(50)]
    assert {(view.top, view.left) for view in views} == {(1, 2)}
    assert {view.is_flipped for view in views} == {True, False}


def test_turning_the_flip_on_leaves_the_crops() -> None:
    for item in range(20):
        plain = draw(Augmentation(), item=item)
        flipped = draw(Augmentation(horizontal_flip=True), item=item)
        assert (plain.top, plain.left) == (flipped.top, flipped.left)
