"""The encoders of the equivalence matrix: one line in `ENCODERS` adds one to every test."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.sgs.kinds_plain import FrozenStage, UnusedSubmodule
from tests.sgs.kinds_sharing import TiedWeights


class DictOutput(nn.Module):
    """Two levels of features in a dict, with a tensor that has no gradient beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Linear(6, 5)
        self.high = nn.Linear(5, 4)

    def forward(self, items: Tensor) -> dict[str, Tensor | list[Tensor]]:
        low = self.low(items).tanh()
        return {"levels": [low, self.high(low)], "argmax": items.argmax(dim=1)}


class Recurrent(nn.Module):
    """A recurrent layer, which keeps a second list of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(3, 4, batch_first=True)

    def forward(self, items: Tensor) -> Tensor:
        return self.recurrent(items)[0].mean(dim=1)


def conv3d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    )


def transformer_block() -> nn.Module:
    block = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    return nn.Sequential(block, nn.Flatten())


def dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.4), nn.GELU(), nn.Linear(16, 4))


@dataclass(frozen=True)
class EncoderCase:
    """An encoder and the shape of one of its items."""

    build: Callable[[], nn.Module]
    item_shape: tuple[int, ...]
    is_stochastic: bool = False

    def make(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.build().double()

    def items(self, *lead: int) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.randn(*lead, *self.item_shape, dtype=torch.float64, generator=generator)


ENCODERS = {
    "linear": EncoderCase(lambda: nn.Linear(6, 4), (6,)),
    "conv3d": EncoderCase(conv3d, (2, 3, 5, 5)),
    "transformer_block": EncoderCase(transformer_block, (3, 8)),
    "dropout": EncoderCase(dropout, (6,), is_stochastic=True),
    "frozen_stage": EncoderCase(FrozenStage, (6,)),
    "unused_submodule": EncoderCase(UnusedSubmodule, (6,)),
    "tied_weights": EncoderCase(TiedWeights, (6,)),
    "dict_output": EncoderCase(DictOutput, (6,)),
    "recurrent": EncoderCase(Recurrent, (5, 3)),
}
DETERMINISTIC = {name: case for name, case in ENCODERS.items() if not case.is_stochastic}
