"""Causal language models of `transformers`, on padded texts of different lengths."""

from torch import nn
from transformers import (
    Gemma3TextConfig,
    Gemma3TextModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    MambaConfig,
    MambaModel,
    MixtralConfig,
    MixtralModel,
    MusicgenDecoderConfig,
    OPTConfig,
    OPTModel,
    Phi3Config,
    Phi3Model,
    Qwen3Config,
    Qwen3Model,
    Qwen3NextConfig,
    Qwen3NextModel,
)
from transformers.models.musicgen.modeling_musicgen import MusicgenDecoder

from tests.sgs.families.text import SMALL, SPECIAL_TOKENS, VOCABULARY, WIDE, tokens
from tests.sgs.kinds.kind import Kind

# The caches that decoders return by default hold tensors that belong to no item.
DECODER = {**SMALL, "num_key_value_heads": 1, "use_cache": False}
# The default implementation of experts knows no double precision.
EXPERTS = {"num_experts_per_tok": 2, "experts_implementation": "eager"}


def gpt2() -> nn.Module:
    sizes = {"vocab_size": VOCABULARY, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16}
    return GPT2Model(GPT2Config(**SPECIAL_TOKENS, **WIDE, **sizes, use_cache=False))


def opt() -> nn.Module:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 8, "word_embed_proj_dim": 8, "ffn_dim": 16}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 16}
    noise = {"layerdrop": 0.3, "init_std": 0.3}
    return OPTModel(OPTConfig(**SPECIAL_TOKENS, **sizes, **layers, **noise, use_cache=False))


def musicgen_decoder() -> nn.Module:
    # Draws which layers to drop from Python's random numbers.
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 16, "layerdrop": 0.3}
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 8, "max_position_embeddings": 16}
    settings = MusicgenDecoderConfig(
        **SPECIAL_TOKENS,
        **layers,
        **sizes,
        num_codebooks=1,
        initializer_factor=0.3,
        use_cache=False,
    )
    return MusicgenDecoder(settings)


def phi3() -> nn.Module:
    # Chooses its rotary frequencies, a buffer, by the length of the texts, in every forward pass.
    rotary = {"rope_type": "longrope", "rope_theta": 10000.0, "factor": 4.0}
    rotary |= {"short_factor": [1.0, 1.0], "long_factor": [2.0, 3.0]}
    rotary["original_max_position_embeddings"] = 4
    return Phi3Model(Phi3Config(**DECODER, rope_parameters=rotary, attention_dropout=0.1))


def mixtral() -> nn.Module:
    settings = MixtralConfig(**DECODER, **EXPERTS, num_local_experts=4, router_jitter_noise=0.1)
    return MixtralModel(settings)


def qwen3_next() -> nn.Module:
    heads = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "head_dim": 4}
    linear = {"linear_key_head_dim": 4, "linear_value_head_dim": 4}
    experts = {"num_experts": 4, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8}
    layers = {"layer_types": ["linear_attention", "full_attention"]}
    settings = Qwen3NextConfig(**DECODER, **EXPERTS, **heads, **linear, **experts, **layers)
    return Qwen3NextModel(settings)


def mamba() -> nn.Module:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 8, "num_hidden_layers": 2, "state_size": 4}
    return MambaModel(MambaConfig(**SPECIAL_TOKENS, **WIDE, **sizes, use_cache=False))


DECODER_FAMILIES = {
    "gpt2": Kind(gpt2, tokens, is_stochastic=True),
    "opt": Kind(opt, tokens, is_stochastic=True),
    "musicgen_decoder": Kind(musicgen_decoder, tokens, is_stochastic=True),
    "llama": Kind(lambda: LlamaModel(LlamaConfig(**DECODER)), tokens),
    "qwen3": Kind(lambda: Qwen3Model(Qwen3Config(**DECODER, head_dim=4)), tokens),
    "gemma3": Kind(lambda: Gemma3TextModel(Gemma3TextConfig(**DECODER, head_dim=4)), tokens),
    "phi3": Kind(phi3, tokens, is_stochastic=True),
    "mixtral": Kind(mixtral, tokens, is_stochastic=True),
    "qwen3_next": Kind(qwen3_next, tokens),
    "mamba": Kind(mamba, tokens),
}
