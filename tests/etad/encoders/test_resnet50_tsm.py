import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from examples.etad.encoders.build import build_encoder
from examples.etad.encoders.resnet50_tsm import resnet50_tsm, shift_in_time


def shifted_by_hand(maps: Tensor) -> Tensor:
    """Frame by frame: the first eighth of the channels from the next, the second from the last."""
    fold = maps.shape[2] // 8
    result = maps.clone()
    for item in range(len(maps)):
        for frame in range(maps.shape[1]):
            for channel in range(2 * fold):
                source = frame + 1 if channel < fold else frame - 1
                inside = 0 <= source < maps.shape[1]
                result[item, frame, channel] = maps[item, source, channel] if inside else 0
    return result


def test_shift_against_frame_by_frame(generator: torch.Generator) -> None:
    for shape in [(2, 5, 16, 2, 3), (1, 1, 8, 1, 1), (3, 2, 21, 1, 2), (2, 3, 7, 1, 1)]:
        maps = torch.randn(shape, generator=generator)
        assert shift_in_time(maps).equal(shifted_by_hand(maps))
    backwards = shift_in_time(maps := torch.randn(2, 5, 16, 2, 3, generator=generator)).flip(1)
    assert not backwards.equal(shift_in_time(maps.flip(1)))


def test_block_shifts_its_branch_and_not_its_shortcut(generator: torch.Generator) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = resnet50_tsm().layer2[0].double()
    for norm in (block.bn1, block.bn2, block.bn3, block.downsample[1]):
        for value in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
            value.uniform_(0.5, 1.5, generator=generator)
    maps = torch.randn(2, 3, 256, 6, 6, dtype=torch.float64, generator=generator)
    shifted, expected = shifted_by_hand(maps), []
    for frame in range(3):
        branch = block.bn1(F.conv2d(shifted[:, frame], block.conv1.weight)).relu()
        branch = block.bn2(F.conv2d(branch, block.conv2.weight, stride=2, padding=1)).relu()
        branch = block.bn3(F.conv2d(branch, block.conv3.weight))
        shortcut = F.conv2d(maps[:, frame], block.downsample[0].weight, stride=2)
        expected.append((branch + block.downsample[1](shortcut)).relu())
    torch.testing.assert_close(block(maps), torch.stack(expected, dim=1), rtol=1e-12, atol=1e-12)


def test_stages_have_the_published_sizes() -> None:
    with torch.device("meta"), torch.no_grad():
        maps = torch.zeros(2, 3, 8, 224, 224)
        shapes = []
        for part in resnet50_tsm().children():
            maps = part(maps)
            shapes.append(tuple(maps.shape))
    assert shapes[1:] == [
        (2, 8, 64, 56, 56),
        (2, 8, 256, 56, 56),
        (2, 8, 512, 28, 28),
        (2, 8, 1024, 14, 14),
        (2, 8, 2048, 7, 7),
        (2, 2048),
    ]


def test_parameters_and_multiply_adds_are_the_published_ones() -> None:
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder = build_encoder("resnet50_tsm")
        encoder(torch.zeros(1, 3, 8, 224, 224))
    # torchvision's ResNet-50: 25,557,032 parameters and 4.09 G multiply-adds, classifier included.
    classifier = 2048 * 1000
    assert sum(p.numel() for p in encoder.parameters()) == 25_557_032 - classifier - 1000
    multiply_adds = counter.get_total_flops() / 2
    assert abs(multiply_adds + 8 * classifier - 8 * 4.09e9) < 8 * 0.005e9
