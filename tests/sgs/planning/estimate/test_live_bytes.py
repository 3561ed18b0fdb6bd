import gc
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._C._profiler import _EventType
from torch.profiler import profile
from torch.utils.checkpoint import checkpoint

from sgs.planning.estimate.live_bytes import IGNORED, LiveBytes

FLOAT = 4


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(10, 20), nn.ReLU(inplace=True), nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 5)
    )


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(10)
        self.attend = nn.MultiheadAttention(10, 2, dropout=0.1, batch_first=True)
        self.last = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x).unflatten(0, (4, 4))
        return self.last(y + self.attend(y, y, y, need_weights=False)[0])


def plain(module: nn.Module, x: Tensor) -> Tensor:
    return module(x)


def recomputed(module: nn.Module, x: Tensor) -> Tensor:
    # The random states that checkpoints keep are no tensors of an operation.
    return checkpoint(module, x, use_reentrant=False, preserve_rng_state=False)


def recomputed_reentrant(module: nn.Module, x: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    return checkpoint(module, leaf, use_reentrant=True, preserve_rng_state=False)


def allocator_peak(run: Callable[[], None]) -> tuple[int, int]:
    """What torch's own allocator saw: the bytes left alive, and the peak."""
    with profile(profile_memory=True) as profiled:
        run()
    assert profiled.profiler is not None
    pending = list(profiled.profiler.kineto_results.experimental_event_tree())
    changes = []
    while pending:
        event = pending.pop()
        pending += event.children
        if event.tag == _EventType.Allocation:
            changes.append((event.start_time_ns, event.extra_fields.alloc_size))
    current = peak = 0
    for _, size in sorted(changes):
        current += size
        peak = max(peak, current)
    return current, peak


def live_bytes(run: Callable[[], None]) -> tuple[int, int]:
    counter = LiveBytes()
    with counter:
        run()
    return counter.current.total(), counter.peak.total()


@pytest.mark.parametrize("call", [plain, recomputed, recomputed_reentrant])
@pytest.mark.parametrize("make", [net, Attention, lambda: nn.BatchNorm1d(10)])
def test_peak_is_that_of_the_allocator_to_the_byte(
    make: Callable[[], nn.Module], call: Callable[[nn.Module, Tensor], Tensor]
) -> None:
    module, x = make(), torch.randn(16, 10)

    def run() -> None:
        module.zero_grad()
        call(module, x).square().mean().backward()

    run()
    module.zero_grad()
    truth = allocator_peak(run)
    module.zero_grad()
    assert live_bytes(run) == truth


def test_what_a_convolution_leaves_alive_is_that_of_the_allocator_to_the_byte() -> None:
    """Its peak is not: workspaces are taken and given back inside of the kernel."""
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)
    )
    x, kept = torch.randn(4, 3, 12, 12), []
    truth = allocator_peak(lambda: kept.append(module(x)))[0]
    kept.clear()
    assert live_bytes(lambda: kept.append(module(x)))[0] == truth > 0


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_optimizer_is_counted_to_the_byte(name: str) -> None:
    module, x = net(), torch.randn(16, 10)
    optimizer = getattr(torch.optim, name)(module.parameters(), foreach=True)

    def run() -> None:
        module(x).square().mean().backward()
        optimizer.step()

    truth = allocator_peak(run)
    optimizer = getattr(torch.optim, name)(module.parameters(), foreach=True)
    module.zero_grad()
    alive, peak = live_bytes(run)
    assert alive == truth[0]
    # The kernel of the update takes three single numbers, and gives them back.
    assert 0 <= truth[1] - peak <= 3 * FLOAT


def test_what_only_a_graph_holds_is_alive() -> None:
    counter, x = LiveBytes(), torch.randn(16, 10)
    with counter:
        y = net()(x)
        gc.collect()
        # The inputs of the second and third layer, the latter as tanh keeps it, and the output.
        parameters = 200 + 20 + 600 + 30 + 150 + 5
        assert counter.current.total() == FLOAT * (parameters + 16 * (20 + 30 + 5))
        del y
    assert counter.current.total() == 0


def test_views_count_once_and_are_no_new_memory_of_what_was_there_before() -> None:
    before, counter = torch.zeros(100), LiveBytes()
    with counter:
        whole = torch.zeros(100)
        _ = [whole[:10], whole.view(10, 10), whole.detach(), before[3:]]
    assert counter.current.total() == 100 * FLOAT


def test_memory_that_was_there_before_counts_once_it_is_named() -> None:
    before, counter = torch.zeros(100), LiveBytes()
    counter.assign([before, before.view(10, 10), None, 3], "items")
    assert counter.current == {"items": 400}
    counter.assign([before], IGNORED)
    with counter:
        _ = before.mul_(2)
    assert counter.current.total() == 0
    counter.assign([before], "items")
    assert counter.current.total() == 0


def test_memory_belongs_to_the_category_of_the_moment_until_it_is_moved() -> None:
    counter = LiveBytes()
    with counter:
        with counter.of("activations"):
            first, second = torch.zeros(10), torch.zeros(100)
        rest = torch.zeros(1)
    assert +counter.current == {"activations": 440, "other": 4}
    counter.assign([second], "gradients")
    assert +counter.current == {"activations": 40, "gradients": 400, "other": 4}
    counter.move("activations", "gradients")
    assert +counter.current == {"gradients": 440, "other": 4}
    assert counter.peak.total() == 444
    del first, second, rest
    assert not +counter.current


def test_peak_is_of_one_moment_and_can_be_restarted() -> None:
    counter = LiveBytes()
    with counter:
        first = torch.zeros(100)
        del first
        second = torch.zeros(60)
        assert counter.peak.total() == 400
        counter.restart_peak()
        assert counter.peak.total() == 240
        del second


def test_resized_memory_counts_as_it_is() -> None:
    counter, tensor = LiveBytes(), torch.zeros(10)
    with counter:
        made = tensor.clone()
        made.resize_(1000)
        assert counter.current.total() == 4000
        made.untyped_storage().resize_(0)
        made.set_()
        del made
    assert counter.current.total() == 0


def test_blocks_round_up() -> None:
    counter = LiveBytes(block=512)
    with counter:
        kept = [torch.zeros(1), torch.zeros(128), torch.zeros(129), torch.zeros(0)]
        assert counter.current.total() == 512 * (1 + 1 + 2)
        del kept
    assert counter.current.total() == 0
