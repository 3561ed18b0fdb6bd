"""Items that are fetched by micro-batch give the same features and gradients as tensors."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from samplers import DPP, Random
from sgs import ArraySource, SequentialGradientSampler, Source, SourceBatch, equivalence_report
from tests.reference import assert_same, run
from tests.sgs.encoders import ENCODERS, EncoderCase, tried

NUM_ITEMS, SIZE = 11, 3


class Recorded:
    """A source that records the fetched positions and the threads."""

    def __init__(self, items: Tensor) -> None:
        self.items = items
        self.fetched: list[list[int]] = []
        self.threads: set[str] = set()

    @property
    def positions(self) -> list[int]:
        return [i for index in self.fetched for i in index]

    def __len__(self) -> int:
        return len(self.items)

    def fetch(self, index: Tensor) -> Any:
        self.fetched.append(index.tolist())
        self.threads.add(threading.current_thread().name)
        return self.items[index]


class Failing(Recorded):
    """Fails where a file is damaged."""

    def fetch(self, index: Tensor) -> Any:
        if 7 in index:
            raise OSError("damaged at frame 112")
        return super().fetch(index)


def sampler_of(encoder: nn.Module, **options: Any) -> SequentialGradientSampler:
    return SequentialGradientSampler(
        encoder, micro_batch_size=SIZE, generator=torch.Generator().manual_seed(3), **options
    )


def trained(case: EncoderCase, items: Any, **options: Any) -> tuple[list[Tensor], Any]:
    encoder = case.make()
    sampler = sampler_of(encoder, **options)
    torch.manual_seed(2)
    return run(encoder, lambda: sampler(items))


@pytest.mark.parametrize("strategy", [Random(), DPP()], ids=["random", "dpp"])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("case", ENCODERS.values(), ids=ENCODERS)
def test_gradients_are_those_of_tensors(case: EncoderCase, ratio: float, strategy: Any) -> None:
    if case is ENCODERS["dict_output"]:
        strategy = Random()
    items, options = case.items(NUM_ITEMS), {"ratio": ratio, "sampler": strategy}
    ours = trained(case, Recorded(items), **options)
    theirs = trained(case, items, **options)
    assert all(torch.equal(a, b) for a, b in zip(ours[0], theirs[0], strict=True))
    assert_same(ours[1], theirs[1])


@pytest.mark.parametrize("kept", [0, 1])
def test_videos_of_a_batch_have_a_source_each(kept: int) -> None:
    case = ENCODERS["dropout"]
    items, options = case.items(3, 5), {"item_dim": 1, "ratio": 0.5, "kept_graphs": kept}
    batch = SourceBatch([Recorded(video) for video in items])
    ours, theirs = trained(case, batch, **options), trained(case, items, **options)
    assert torch.equal(ours[0][0], theirs[0][0])
    assert_same(ours[1], theirs[1])
    assert len(batch) == 15


def test_sources_and_tensors_mix_and_sources_may_return_trees() -> None:
    class Pair(Recorded):
        def fetch(self, index: Tensor) -> dict[str, Any]:
            rows = super().fetch(index)
            return {"low": rows, "more": [rows + 1]}

    class Reads(nn.Linear):
        def forward(self, tree: dict[str, Any], scale: Tensor) -> Tensor:
            return super().forward(tree["low"] * tree["more"][0]) * scale

    items, scale = torch.randn(NUM_ITEMS, 3).double(), torch.randn(NUM_ITEMS, 1).double()
    encoder = Reads(3, 4).double()
    sampler = sampler_of(encoder)
    expected = run(encoder, lambda: encoder({"low": items, "more": [items + 1]}, scale))[1]
    assert_same(run(encoder, lambda: sampler(Pair(items), scale))[1], expected)


def test_sampled_items_alone_are_fetched_again() -> None:
    source = Recorded(torch.randn(NUM_ITEMS, 3))
    sampler = sampler_of(nn.Linear(3, 4), ratio=0.5)
    features = sampler(source)
    assert sorted(source.positions) == list(range(NUM_ITEMS))
    features.sum().backward()
    assert source.positions[NUM_ITEMS:] == sampler.last_index.tolist()


def test_micro_batches_come_in_the_order_of_their_first_items() -> None:
    source = Recorded(torch.randn(40, 3))
    sampler_of(nn.Linear(3, 4), ratio=0.3)(source)
    assert source.fetched == sorted(source.fetched)


def test_kept_graphs_and_stem_outputs_are_not_fetched_again() -> None:
    for options in ({"kept_graphs": 9}, {"frozen_stem": nn.Identity()}):
        source = Recorded(torch.randn(NUM_ITEMS, 3))
        sampler_of(nn.Linear(3, 4), **options)(source).sum().backward()
        assert sorted(source.positions) == list(range(NUM_ITEMS))


def test_one_micro_batch_is_fetched_ahead_on_another_thread() -> None:
    """Encoding starts before the last fetch, and at most two micro-batches are in memory."""
    source, ahead = Recorded(torch.randn(30, 3)), []
    encoder, release = nn.Linear(3, 4), threading.Event()

    class Waits(Recorded):
        def fetch(self, index: Tensor) -> Any:
            # The second micro-batch arrives only once the first one is being encoded.
            assert index[0] == 0 or release.wait(timeout=20)
            return source.fetch(index)

    def encoding(*_: object) -> None:
        release.set()
        ahead.append(len(source.fetched))

    encoder.register_forward_pre_hook(encoding)
    tried(sampler_of(encoder))(Waits(source.items))
    assert all(fetched - number in (1, 2) for number, fetched in enumerate(ahead))
    assert len(ahead) == 10
    assert all(name.startswith("sgs-fetch") for name in source.threads)


def test_evaluation_fetches_too() -> None:
    source, encoder = Recorded(torch.randn(NUM_ITEMS, 3)), nn.Linear(3, 4)
    with torch.no_grad():
        features = sampler_of(encoder)(source)
        assert torch.allclose(features, encoder(source.items))
    assert len(source.fetched) == 4


def test_an_error_while_fetching_surfaces_with_its_cause_and_ends_the_thread() -> None:
    encoder = nn.Linear(3, 4)
    message = r"Failing.fetch failed for the items \[6, 7, 8\] \(3\): OSError: damaged at frame 112"
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled), pytest.raises(RuntimeError, match=message) as caught:
            sampler_of(encoder)(Failing(torch.randn(NUM_ITEMS, 3)))
        assert isinstance(caught.value.__cause__, OSError)
    assert not any(thread.name.startswith("sgs-fetch") for thread in threading.enumerate())


def test_an_error_while_fetching_again_surfaces_in_the_backward() -> None:
    source = Recorded(torch.randn(NUM_ITEMS, 3))
    loss = sampler_of(nn.Linear(3, 4))(source).sum()
    source.fetch = Failing(source.items).fetch
    with pytest.raises(RuntimeError, match="damaged at frame 112"):
        loss.backward()
    assert not any(thread.name.startswith("sgs-fetch") for thread in threading.enumerate())


def test_an_error_of_the_encoder_ends_the_thread() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        sampler_of(nn.Linear(5, 4))(Recorded(torch.randn(NUM_ITEMS, 3)))
    assert not any(thread.name.startswith("sgs-fetch") for thread in threading.enumerate())


def test_source_that_returns_other_items_the_second_time_is_noticed() -> None:
    source = Recorded(torch.randn(NUM_ITEMS, 3))
    loss = sampler_of(nn.Linear(3, 4))(source).sum()
    source.items = source.items + 1
    with pytest.raises(RuntimeError, match="the second pass computed other features"):
        loss.backward()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            lambda rows: rows[:-1],
            r"Odd.fetch returned \[\[2, 3\]\] for 3 item\(s\): expected a tens",
        ),
        (lambda rows: rows.sum(), r"returned \[\[\]\] for 3"),
        (lambda rows: (rows, "x"), r"returned \[\[3, 3\], 'str'\] for 3"),
        (lambda rows: (), r"returned \[\] for 3"),
    ],
)
def test_source_that_does_not_return_one_row_per_item_is_refused(
    returned: Any, message: str
) -> None:
    class Odd(Recorded):
        def fetch(self, index: Tensor) -> Any:
            return returned(super().fetch(index))

    with pytest.raises(ValueError, match=message):
        sampler_of(nn.Linear(3, 4))(Odd(torch.randn(NUM_ITEMS, 3)))


def test_source_must_have_as_many_items_as_the_tensors() -> None:
    with pytest.raises(ValueError, match=r"shapes \[\[4, 3\], \[11\]\] .* in SourceBatch"):
        sampler_of(nn.Linear(3, 4))(Recorded(torch.randn(NUM_ITEMS, 3)), torch.randn(4, 3))


@pytest.mark.parametrize(
    ("lengths", "got"), [((3, 4), r"2 source\(s\) of lengths \[3, 4\]"), ((), "0")]
)
def test_batch_of_sources_of_several_lengths_is_refused(lengths: Any, got: str) -> None:
    with pytest.raises(ValueError, match=rf"SourceBatch\(sources=...\): got {got}"):
        SourceBatch([Recorded(torch.randn(length, 3)) for length in lengths])


def test_memory_map_is_read_by_micro_batch(tmp_path: Path) -> None:
    values = np.arange(NUM_ITEMS * 3, dtype=np.float32).reshape(NUM_ITEMS, 3)
    values.tofile(tmp_path / "items.bin")
    mapped = np.memmap(tmp_path / "items.bin", np.float32, mode="r", shape=values.shape)
    encoder = nn.Linear(3, 4)
    expected = run(encoder, lambda: encoder(torch.from_numpy(values)).double())[1]
    ours = run(encoder, lambda: sampler_of(encoder)(ArraySource(mapped)).double())[1]
    assert_same(ours, expected, rtol=1e-5)


def test_array_source_returns_copies() -> None:
    items = torch.zeros(4, 3)
    ArraySource(items).fetch(torch.tensor([1, 2])).add_(1)
    assert not items.any()
    assert isinstance(ArraySource(items), Source)


def test_report_compares_with_all_items_at_once() -> None:
    torch.manual_seed(0)
    sampler = SequentialGradientSampler(ENCODERS["linear"].make(), micro_batch_size=2, item_dim=1)
    videos = ENCODERS["linear"].items(2, 5)
    report = equivalence_report(sampler, SourceBatch([ArraySource(video) for video in videos]))
    assert report.is_exact, report
