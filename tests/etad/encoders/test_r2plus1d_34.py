import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from examples.etad.encoders.build import build_encoder
from examples.etad.encoders.r2plus1d_34 import r2plus1d_34


def test_parameters_are_the_published_ones() -> None:
    with torch.device("meta"):
        encoder = build_encoder("r2plus1d_34")
    counts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in encoder.named_children()
    }
    assert counts == {
        "normalise": 0,
        "stem": 15_473,
        "layer1": 666_048,
        "layer2": 3_332_364,
        "layer3": 20_400_408,
        "layer4": 39_077_682,
        "pool": 0,
    }
    assert sum(counts.values()) == 63_491_975


def test_names_and_shapes_are_those_of_the_released_checkpoints() -> None:
    with torch.device("meta"):
        state = build_encoder("r2plus1d_34").state_dict()
    assert len(state) == 414
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    expected: dict[str, tuple[int, ...]] = {}

    def add_norm(name: str, channels: int) -> None:
        for key in norm:
            expected[f"{name}.{key}"] = () if key == "num_batches_tracked" else (channels,)

    expected |= {"stem.0.weight": (45, 3, 1, 7, 7), "stem.3.weight": (64, 45, 3, 1, 1)}
    add_norm("stem.1", 45)
    add_norm("stem.4", 64)
    first = {1: 144, 2: 230, 3: 460, 4: 921}
    others = {1: 144, 2: 288, 3: 576, 4: 1152}
    before = 64
    for layer, num_blocks in enumerate((3, 4, 6, 3), start=1):
        channels = 32 * 2**layer
        for block in range(num_blocks):
            name = f"layer{layer}.{block}"
            for conv in (1, 2):
                is_first = block == 0 and conv == 1
                inside = before if is_first else channels
                middle = first[layer] if is_first else others[layer]
                expected[f"{name}.conv{conv}.0.0.weight"] = (middle, inside, 1, 3, 3)
                expected[f"{name}.conv{conv}.0.3.weight"] = (channels, middle, 3, 1, 1)
                add_norm(f"{name}.conv{conv}.0.1", middle)
                add_norm(f"{name}.conv{conv}.1", channels)
            if block == 0 and layer > 1:
                expected[f"{name}.downsample.0.weight"] = (channels, before, 1, 1, 1)
                add_norm(f"{name}.downsample.1", channels)
        before = channels
    assert {name: tuple(value.shape) for name, value in state.items()} == expected


def test_stages_have_the_published_sizes() -> None:
    with torch.device("meta"), torch.no_grad():
        maps = torch.zeros(2, 3, 16, 112, 112)
        shapes = []
        for part in r2plus1d_34().children():
            maps = part(maps)
            shapes.append(tuple(maps.shape))
    assert shapes[1:] == [
        (2, 64, 16, 56, 56),
        (2, 64, 16, 56, 56),
        (2, 128, 8, 28, 28),
        (2, 256, 4, 14, 14),
        (2, 512, 2, 7, 7),
        (2, 512),
    ]


def test_multiply_adds_are_the_published_ones() -> None:
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        build_encoder("r2plus1d_34")(torch.zeros(1, 3, 32, 112, 112))
    # 152 G for 32 frames of 112 × 112 (Table 2 of the SlowFast paper, arXiv 1812.03982).
    assert counter.get_total_flops() / 2 == pytest.approx(152e9, rel=0.004)


def test_block_against_its_convolutions_written_out(generator: torch.Generator) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = r2plus1d_34().layer2[0].double()
    norms = [m for m in block.modules() if hasattr(m, "running_mean")]
    for norm in norms:
        for value in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
            value.uniform_(0.5, 1.5, generator=generator)
    maps = torch.randn(2, 64, 4, 6, 6, dtype=torch.float64, generator=generator)
    branch, strides = maps, {"conv1": 2, "conv2": 1}
    for name, stride in strides.items():
        (space, norm, _, time), last, *_ = getattr(block, name)
        branch = F.conv3d(branch, space.weight, stride=(1, stride, stride), padding=(0, 1, 1))
        branch = norm(branch).relu()
        branch = F.conv3d(branch, time.weight, stride=(stride, 1, 1), padding=(1, 0, 0))
        branch = last(branch).relu() if name == "conv1" else last(branch)
    shortcut = block.downsample[1](F.conv3d(maps, block.downsample[0].weight, stride=2))
    torch.testing.assert_close(block(maps), (branch + shortcut).relu(), rtol=1e-12, atol=1e-12)
    assert {norm.eps for norm in norms} == {1e-3}
