"""Recurrent encoders: they keep a second list of their weights, and read sequences."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.sgs.kinds.arguments import SEQUENCES, sequences_and_lengths
from tests.sgs.kinds.kind import Kind


class Recurrent(nn.Module):
    """Any recurrent layer, averaged over time."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.recurrent = layer

    def forward(self, items: Tensor) -> Tensor:
        return self.recurrent(items)[0].mean(dim=1)


class PackedSequences(nn.Module):
    """Sequences of different lengths, packed, so that padding is never read."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(4, 3, batch_first=True, bidirectional=True)

    def forward(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(items, lengths, batch_first=True, enforce_sorted=False)
        outputs, last = self.recurrent(packed)
        padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=items.shape[1])
        return padded, last.transpose(0, 1).flatten(1)


class CellLoop(nn.Module):
    """A cell called once per time step: its weights occur in the graph many times."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 3)

    def forward(self, items: Tensor) -> Tensor:
        state = items.new_zeros(len(items), 3)
        for step in items.unbind(dim=1):
            state = self.cell(step, state)
        return state


class TimeFirst(nn.Module):
    """A layer that reads time first, fed with items transposed by the encoder itself."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(4, 3)

    def forward(self, items: Tensor) -> Tensor:
        outputs, (last, _) = self.recurrent(items.transpose(0, 1))
        return torch.cat([outputs.mean(dim=0), last[0]], dim=1)


def weight_normed_lstm() -> nn.Module:
    layer = nn.LSTM(4, 3, batch_first=True)
    return Recurrent(parametrizations.weight_norm(layer, "weight_hh_l0"))


def two_layers() -> nn.Module:
    return Recurrent(nn.LSTM(4, 3, 2, batch_first=True, bidirectional=True, dropout=0.4))


RECURRENT = {
    "lstm": Kind(lambda: Recurrent(nn.LSTM(4, 3, batch_first=True)), SEQUENCES),
    "gru": Kind(lambda: Recurrent(nn.GRU(4, 3, batch_first=True)), SEQUENCES),
    "rnn": Kind(lambda: Recurrent(nn.RNN(4, 3, batch_first=True)), SEQUENCES),
    "lstm_two_layers_with_dropout": Kind(two_layers, SEQUENCES, is_stochastic=True),
    "lstm_projected": Kind(
        lambda: Recurrent(nn.LSTM(4, 5, batch_first=True, proj_size=3)), SEQUENCES
    ),
    "lstm_weight_norm": Kind(weight_normed_lstm, SEQUENCES),
    "lstm_time_first": Kind(TimeFirst, SEQUENCES),
    "packed_sequences": Kind(PackedSequences, sequences_and_lengths),
    "cell_loop": Kind(CellLoop, SEQUENCES),
}
