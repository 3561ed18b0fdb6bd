"""Encoders of `x-transformers`, which leave layers out at random."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.sgs.kinds.arguments import DrawArguments, normal
from tests.sgs.kinds.kind import Arguments
from tests.sgs.zoo.foreign import Foreign
from tests.sgs.zoo.package import imported

SMALL = {"dim": 8, "heads": 2, "attn_dim_head": 8, "verbose": False}
DROPOUT = {"attn_dropout": 0.2, "ff_dropout": 0.2, "layer_dropout": 0.2}
SEQUENCES = normal(6, 8, name="x")


def masked_tokens(num_items: int, generator: torch.Generator) -> Arguments:
    tokens = torch.randint(16, (num_items, 6), generator=generator)
    return {"x": tokens, "mask": torch.arange(6) < 6 - torch.arange(num_items)[:, None] % 3}


def layers(**settings: Any) -> nn.Module:
    return imported("x_transformers").Encoder(**{"depth": 2, **settings}, **SMALL, **DROPOUT)


def rotary() -> nn.Module:
    norms = {"use_rmsnorm": True, "attn_qk_norm": True, "pre_and_post_norm": True}
    return layers(rotary_pos_emb=True, ff_glu=True, **norms)


def hyper_connections() -> nn.Module:
    """Build an encoder of two residual streams, without norms."""
    return layers(depth=1, num_residual_streams=2, use_dynamic_tanh=True, use_layerscale=True)


def memories() -> nn.Module:
    """Build an encoder of padded texts with memories, as tokens and as keys and values."""
    hybrid = {"attn_num_mem_kv": 2, "rel_pos_bias": True, "shift_tokens": 1, "sandwich_norm": True}
    sizes = {"num_tokens": 16, "max_seq_len": 6, "num_memory_tokens": 2, "emb_dropout": 0.2}
    return imported("x_transformers").TransformerWrapper(attn_layers=layers(**hybrid), **sizes)


def line(build: Callable[[], nn.Module], arguments: DrawArguments = SEQUENCES) -> Foreign:
    return Foreign(build, arguments, is_stochastic=True, package="x_transformers")


X_TRANSFORMERS = {
    "x_transformers_rotary": line(rotary),
    "x_transformers_hyper_connections": line(hyper_connections),
    "x_transformers_memories": line(memories, masked_tokens),
}
