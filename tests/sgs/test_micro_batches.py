"""The sizes of the micro-batches."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from samplers import Block
from sgs import SequentialGradientSampler
from tests.sgs.encoders import tried


@pytest.mark.parametrize(
    ("num_items", "size", "expected"),
    [
        (9, 4, [4, 3, 2]),
        (4, 3, [2, 2]),
        (10, 4, [4, 4, 2]),
        (5, 2, [2, 2, 1]),  # Two items and one are the only way.
        (3, 1, [1, 1, 1]),
        (1, 4, [1]),
        (0, 4, [0]),
    ],
)
def test_no_item_is_alone_at_the_end(num_items: int, size: int, expected: list[int]) -> None:
    """torch computes a single item otherwise, and its BatchNorm in eval mode wrongly."""
    sizes: list[int] = []
    encoder = nn.Linear(3, 4)
    encoder.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    tried(SequentialGradientSampler(encoder, micro_batch_size=size))(torch.randn(num_items, 3))
    assert sizes == expected
    sizes.clear()
    with torch.no_grad():
        SequentialGradientSampler(encoder, micro_batch_size=size)(torch.randn(num_items, 3))
    assert sizes == expected


def test_no_item_is_alone_at_the_end_of_what_is_sampled_or_of_the_others() -> None:
    sizes: list[int] = []
    encoder = nn.Linear(3, 4)
    encoder.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    sampler = SequentialGradientSampler(
        encoder, micro_batch_size=3, forward_micro_batch_size=4, ratio=7 / 16, sampler=Block()
    )
    tried(sampler)(torch.randn(16, 3)).sum().backward()
    # Of 7 sampled items by three and 9 others by four; the sampled ones again.
    assert sorted(sizes) == sorted([3, 2, 2, 4, 3, 2, 3, 2, 2])


class PackedSequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(3, 4, batch_first=True)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(items, lengths, batch_first=True, enforce_sorted=False)
        return self.recurrent(packed)[1][0][0]


def test_packed_sequences_of_an_lstm_have_one_dtype_in_bfloat16() -> None:
    """Under autocast torch returns float32, and bfloat16 if all lengths agree: those of one do."""
    encoder, items, lengths = PackedSequences(), torch.randn(5, 4, 3), torch.tensor([4, 1, 3, 2, 4])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoder(items, lengths).dtype == torch.float32
        assert encoder(items[:1], lengths[:1]).dtype == torch.bfloat16
        features = SequentialGradientSampler(encoder, micro_batch_size=4)(items, lengths)
    assert features.dtype == torch.float32
    features.sum().backward()
