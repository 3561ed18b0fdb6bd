"""What is kept for the backward does not grow with the number of items."""

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from samplers import DPP
from sgs import SequentialGradientSampler
from sgs.planning.estimate.live_bytes import LiveBytes

MICRO_BATCH_SIZE = 4


def encoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(3, 8, 3, padding=1),
        nn.GELU(),
        nn.Conv3d(8, 8, 3),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
    )


class SavedBytes:
    """Counts the bytes that autograd keeps, and their peak: exact, on any device."""

    def __init__(self) -> None:
        self.current = self.peak = 0

    def pack(self, tensor: Tensor) -> tuple[Tensor, object]:
        size = tensor.numel() * tensor.element_size()
        self.current += size
        self.peak = max(self.peak, self.current)

        class Token:
            pass

        token = Token()
        weakref.finalize(token, self._release, size)
        return tensor, token

    def _release(self, size: int) -> None:
        self.current -= size


def peak_saved_bytes(wrap: Callable[[nn.Module], Callable[[Tensor], Tensor]], items: int) -> int:
    """Peak over one forward and backward of the encoder; the head's own graph is left out."""
    counter, encode = SavedBytes(), wrap(encoder())
    with torch.autograd.graph.saved_tensors_hooks(counter.pack, lambda packed: packed[0]):
        features = encode(torch.randn(items, 3, 4, 8, 8))
        features.backward(torch.ones_like(features))
    del features
    assert counter.current == 0, "something was left alive"
    return counter.peak


def wrapped(**options: object) -> Callable[[nn.Module], SequentialGradientSampler]:
    return lambda module: SequentialGradientSampler(
        module, micro_batch_size=MICRO_BATCH_SIZE, **options
    )


def test_saved_bytes_do_not_grow_with_num_items() -> None:
    peaks = [peak_saved_bytes(wrapped(), n) for n in (8, 32, 128)]
    assert peaks[0] == peaks[1] == peaks[2] > 0


def test_saved_bytes_do_not_grow_with_num_items_when_guided_by_features() -> None:
    peaks = [peak_saved_bytes(wrapped(ratio=0.5, sampler=DPP()), n) for n in (8, 32, 128)]
    assert peaks[0] == peaks[1] == peaks[2] > 0


def test_saved_bytes_of_the_direct_call_grow_with_num_items() -> None:
    """The negative control: the counter does see growth."""
    small, large = (peak_saved_bytes(lambda module: module, n) for n in (8, 32))
    assert 3.5 < large / small < 4.5


def test_saved_bytes_are_those_of_one_micro_batch() -> None:
    ours = peak_saved_bytes(wrapped(), 32)
    assert ours == peak_saved_bytes(lambda module: module, MICRO_BATCH_SIZE)


def test_frozen_stage_saves_nothing() -> None:
    def frozen_first(module: nn.Module) -> nn.Module:
        module[0].requires_grad_(False)
        return module

    direct = peak_saved_bytes(frozen_first, MICRO_BATCH_SIZE)
    assert peak_saved_bytes(lambda module: wrapped()(frozen_first(module)), 32) == direct
    assert direct < peak_saved_bytes(lambda module: module, MICRO_BATCH_SIZE)


def test_larger_first_pass_saves_no_more() -> None:
    expected = peak_saved_bytes(wrapped(), 32)
    assert peak_saved_bytes(wrapped(forward_micro_batch_size=16), 32) == expected


def test_nothing_is_saved_between_the_passes() -> None:
    counter = SavedBytes()
    with torch.autograd.graph.saved_tensors_hooks(counter.pack, lambda packed: packed[0]):
        features = wrapped()(encoder())(torch.randn(32, 3, 4, 8, 8))
        assert counter.peak == 0
        features.sum().backward()
    assert counter.peak > 0


def test_items_are_freed_by_the_backward_and_not_with_the_loss() -> None:
    items = torch.randn(8, 3, 4, 8, 8)
    watched = weakref.ref(items)
    loss = wrapped()(encoder())(items).square().sum()
    loss.backward(retain_graph=True)
    del items
    assert watched() is not None
    loss.backward()
    assert watched() is None
    assert loss.isfinite()


def test_second_backward_through_a_freed_graph_is_refused() -> None:
    loss = wrapped()(encoder())(torch.randn(8, 3, 4, 8, 8)).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        loss.backward()


def test_features_and_items_are_freed_without_the_garbage_collector() -> None:
    sampler = wrapped(ratio=0.5)(encoder())
    items = torch.randn(8, 3, 4, 8, 8)
    gc.disable()
    try:
        features = sampler(items)
        features.sum().backward()
        watched = [weakref.ref(items), weakref.ref(features)]
        del items, features
        assert [reference() for reference in watched] == [None, None]
    finally:
        gc.enable()


class Generated:
    """A source of images that exist only while they are asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def fetch(self, index: Tensor) -> Tensor:
        return index.view(-1, 1, 1, 1) % 7 + torch.ones(3, 32, 32)


def peak_of_streamed(count: int) -> int:
    """All tensors of a real step, the features and their gradients included."""
    encoder = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 1, 3), nn.Flatten(), nn.AvgPool1d(784)
    )
    sampler = SequentialGradientSampler(encoder, micro_batch_size=32, ratio=0.25)
    counter = LiveBytes()
    with counter:
        sampler(Generated(count)).square().mean().backward()
    return counter.peak.total()


def test_peak_is_that_of_few_items_for_thousands_of_streamed_ones() -> None:
    few, many = peak_of_streamed(128), peak_of_streamed(4096)
    assert many <= 1.02 * few


def test_peak_of_items_in_memory_grows() -> None:
    """The negative control."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3072, 1))
    peaks = []
    for count in (128, 1024):
        counter = LiveBytes()
        with counter:
            items = Generated(count).fetch(torch.arange(count))
            sampler = SequentialGradientSampler(encoder, micro_batch_size=32)
            sampler(items).square().mean().backward()
        peaks.append(counter.peak.total())
    assert peaks[1] > 4 * peaks[0]
