"""Which cells of the table of exactness the quick tier checks: each law, on few encoders."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from tests.sgs.exactness.outcomes import DISTRIBUTED
from tests.sgs.families import FAMILIES
from tests.sgs.kinds.kind import Kind
from tests.sgs.zoo import ZOO

# Compilation takes a second or more, so one kind for each thing that the second pass restores.
COMPILED = (
    "dropout",  # random numbers
    "counter",  # buffers
    "cached_weight",  # attributes
    "weight_norm",  # weights made of other parameters
    "tied_weights",
    "dict_output",
    "clamped_weight",  # refused
)
# Kinds that reductions and shards could treat in a way of their own.
IN_PROCESSES = (
    *COMPILED,
    "carried_state",
    "checkpoint_reentrant",
    "embedding_sparse",
    "lstm",
    "moving_mean",
    "parameter_hook_unused",
    "unused_submodule",
    "wav2vec2",
)
FEW_FAMILIES = (
    "big_bird",  # undefined in bfloat16
    "distilbert",
    "mixtral",  # experts
    "musicgen_decoder",  # draws from Python
    "phi3",  # buffers by length
    "resnet",
    "swin",  # a tolerance of its own
    "switch_transformers",  # refused with kept graphs
    "videomae",
    "wav2vec2",  # draws from NumPy
    "wavlm",  # endless in a reentrant checkpoint
    "whisper",  # encoder and decoder
)


def is_quick(setting: str, name: str) -> bool:
    if setting == "compile":
        return name in COMPILED
    if setting in DISTRIBUTED:
        return name in IN_PROCESSES
    return name in FEW_FAMILIES or name not in {*FAMILIES, *ZOO}


def cells(settings: Iterable[str], kinds: Mapping[str, Kind]) -> list[Any]:
    """Return all combinations, as parameters of a test."""
    return [
        pytest.param(
            setting,
            name,
            marks=() if is_quick(setting, name) else pytest.mark.exhaustive,
            id=f"{setting}-{name}",
        )
        for setting in settings
        for name in kinds
    ]
