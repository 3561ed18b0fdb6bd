"""Bidirectional language models of `transformers`, on padded texts of different lengths."""

import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    BigBirdConfig,
    BigBirdModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    FNetConfig,
    FNetModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
    SwitchTransformersConfig,
    SwitchTransformersEncoderModel,
    T5Config,
    T5EncoderModel,
    ViltConfig,
    ViltModel,
    XLNetConfig,
    XLNetModel,
)

from tests.sgs.kinds.kind import Arguments, Kind

VOCABULARY = 32
TOKENS = 8
SPECIAL_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# Much larger than usual: attention of so few channels would be uniform otherwise.
WIDE = {"initializer_range": 0.3}
SMALL = {
    **SPECIAL_TOKENS,
    **WIDE,
    "vocab_size": VOCABULARY,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
}


def tokens(num_items: int, generator: torch.Generator, *, num_tokens: int = TOKENS) -> Arguments:
    ids = torch.randint(3, VOCABULARY, (num_items, num_tokens), generator=generator)
    lengths = num_tokens - torch.arange(num_items) * 2 % (num_tokens - 2)
    mask = torch.arange(num_tokens) < lengths[:, None]
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


def long_tokens(num_items: int, generator: torch.Generator) -> Arguments:
    return tokens(num_items, generator, num_tokens=32)


def unmasked_tokens(num_items: int, generator: torch.Generator) -> Arguments:
    return {"input_ids": tokens(num_items, generator)["input_ids"]}


def captioned_images(num_items: int, generator: torch.Generator) -> Arguments:
    images = torch.randn(num_items, 3, 16, 16, generator=generator)
    return {**tokens(num_items, generator), "pixel_values": images}


def distilbert() -> nn.Module:
    sizes = {"dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 16, "vocab_size": VOCABULARY}
    return DistilBertModel(DistilBertConfig(**sizes, **WIDE, pad_token_id=0))


def deberta_v2() -> nn.Module:
    attention = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
    return DebertaV2Model(DebertaV2Config(**SMALL, **attention))


def modernbert() -> nn.Module:
    dropout = {"attention_dropout": 0.1, "embedding_dropout": 0.1, "mlp_dropout": 0.1}
    special = {"cls_token_id": 1, "sep_token_id": 2, "local_attention": 4}
    return ModernBertModel(ModernBertConfig(**SMALL, **special, **dropout))


def big_bird() -> nn.Module:
    # Draws its attention pattern from NumPy's random numbers; short texts would get full attention.
    sparse = {"block_size": 2, "num_random_blocks": 2, "sep_token_id": 2}
    return BigBirdModel(BigBirdConfig(**{**SMALL, **sparse, "max_position_embeddings": 32}))


def t5_encoder() -> nn.Module:
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 2, "num_heads": 2}
    return T5EncoderModel(T5Config(vocab_size=VOCABULARY, **sizes))


def switch_transformers() -> nn.Module:
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 2, "num_heads": 2}
    experts = {"num_experts": 4, "num_sparse_encoder_layers": 1, "expert_capacity": 4}
    settings = SwitchTransformersConfig(vocab_size=VOCABULARY, **sizes, **experts)
    return SwitchTransformersEncoderModel(settings)


def bart() -> nn.Module:
    coder = {"layers": 2, "attention_heads": 2, "ffn_dim": 16, "layerdrop": 0.3}
    sides = {f"{side}_{n}": value for side in ("encoder", "decoder") for n, value in coder.items()}
    sizes = {"vocab_size": VOCABULARY, "d_model": 8, "max_position_embeddings": 16}
    # A cache holds tensors that belong to no item.
    return BartModel(BartConfig(**SPECIAL_TOKENS, **sizes, **sides, init_std=0.3, use_cache=False))


def xlnet() -> nn.Module:
    sizes = {"vocab_size": VOCABULARY, "d_model": 8, "n_layer": 2, "n_head": 2, "d_inner": 16}
    # Memories have their items in the second dimension.
    return XLNetModel(XLNetConfig(**SPECIAL_TOKENS, **WIDE, **sizes, use_mems_train=False))


def vilt() -> nn.Module:
    # Picks its patches in random order, as many as the largest image of the micro-batch has.
    return ViltModel(ViltConfig(**SMALL, image_size=16, patch_size=8, hidden_dropout_prob=0.1))


TEXT_FAMILIES = {
    "bert": Kind(lambda: BertModel(BertConfig(**SMALL)), tokens, is_stochastic=True),
    "roberta": Kind(lambda: RobertaModel(RobertaConfig(**SMALL)), tokens, is_stochastic=True),
    "distilbert": Kind(distilbert, tokens, is_stochastic=True),
    "albert": Kind(lambda: AlbertModel(AlbertConfig(**SMALL, embedding_size=4)), tokens),
    "electra": Kind(
        lambda: ElectraModel(ElectraConfig(**SMALL, embedding_size=4)), tokens, is_stochastic=True
    ),
    "deberta_v2": Kind(deberta_v2, tokens, is_stochastic=True),
    "mpnet": Kind(lambda: MPNetModel(MPNetConfig(**SMALL)), tokens, is_stochastic=True),
    "modernbert": Kind(modernbert, tokens, is_stochastic=True),
    "big_bird": Kind(big_bird, long_tokens, is_stochastic=True),
    # FNet mixes tokens by a Fourier transform, which knows no mask.
    "fnet": Kind(lambda: FNetModel(FNetConfig(**SMALL)), unmasked_tokens, is_stochastic=True),
    "xlnet": Kind(xlnet, tokens, is_stochastic=True),
    "t5_encoder": Kind(t5_encoder, tokens, is_stochastic=True),
    "switch_transformers": Kind(switch_transformers, tokens, is_stochastic=True),
    "bart": Kind(bart, tokens, is_stochastic=True),
    "vilt": Kind(vilt, captioned_images, is_stochastic=True),
}
