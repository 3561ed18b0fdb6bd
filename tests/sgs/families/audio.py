"""Speech, sound and time series models of `transformers`, some on padded waveforms."""

import torch
from torch import nn
from transformers import (
    ASTConfig,
    ASTModel,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    EncodecConfig,
    EncodecModel,
    HubertConfig,
    HubertModel,
    PatchTSTConfig,
    PatchTSTModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperModel,
)

from tests.sgs.kinds.kind import Arguments, Kind

SAMPLES = 96
FRAMES = 16
# SpecAugment, which draws from NumPy's random numbers, with spans that fit into short sequences.
MASKED_TIME = {"mask_time_prob": 0.3, "mask_time_length": 2}
MASKED_CHANNELS = {"mask_feature_prob": 0.3, "mask_feature_length": 2}
SMALL = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    # Much larger than usual: attention of so few channels would be uniform otherwise.
    "initializer_range": 0.3,
}
WAVEFORM = {
    **SMALL,
    "conv_dim": [8, 8],
    "conv_kernel": [4, 3],
    "conv_stride": [3, 2],
    "num_conv_pos_embedding_groups": 2,
    "layerdrop": 0.3,
    **MASKED_TIME,
}
POSITIONS = {"num_conv_pos_embeddings": 4}


def waveforms(num_items: int, generator: torch.Generator) -> Arguments:
    values = torch.randn(num_items, SAMPLES, generator=generator)
    lengths = SAMPLES - 12 * (torch.arange(num_items) * 2 % 5)
    mask = torch.arange(SAMPLES) < lengths[:, None]
    return {"input_values": values * mask, "attention_mask": mask.long()}


def spectrograms(num_items: int, generator: torch.Generator) -> Arguments:
    return {"input_values": torch.randn(num_items, FRAMES, 8, generator=generator)}


def transcribed_spectrograms(num_items: int, generator: torch.Generator) -> Arguments:
    return {
        "input_features": torch.randn(num_items, 8, FRAMES, generator=generator),
        "decoder_input_ids": torch.randint(3, 32, (num_items, 5), generator=generator),
    }


def unmasked_waveforms(num_items: int, generator: torch.Generator) -> Arguments:
    return {"input_values": torch.randn(num_items, SAMPLES, generator=generator)}


def sounds(num_items: int, generator: torch.Generator) -> Arguments:
    return {"hidden_states": torch.randn(num_items, 1, SAMPLES, generator=generator)}


def series(num_items: int, generator: torch.Generator) -> Arguments:
    return {"past_values": torch.randn(num_items, FRAMES, 2, generator=generator)}


def ast() -> nn.Module:
    patches = {"patch_size": 4, "frequency_stride": 4, "time_stride": 4}
    dropout = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    return ASTModel(ASTConfig(**SMALL, **patches, **dropout, max_length=FRAMES, num_mel_bins=8))


def whisper() -> nn.Module:
    layers = {"layers": 2, "attention_heads": 2, "ffn_dim": 16, "layerdrop": 0.3}
    sides = {f"{side}_{n}": value for side in ("encoder", "decoder") for n, value in layers.items()}
    sizes = {"d_model": 8, "num_mel_bins": 8, "max_source_positions": FRAMES // 2}
    noise = {"dropout": 0.1, "apply_spec_augment": True, "init_std": 0.3}
    tokens = {"vocab_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    tokens |= {"decoder_start_token_id": 1, "begin_suppress_tokens": None}
    # A cache holds tensors that belong to no item.
    return WhisperModel(
        WhisperConfig(
            **sides, **sizes, **noise, **tokens, **MASKED_TIME, **MASKED_CHANNELS, use_cache=False
        )
    )


def encodec_encoder() -> nn.Module:
    sizes = {"hidden_size": 8, "num_filters": 4, "upsampling_ratios": [2, 2], "num_lstm_layers": 1}
    # Not the whole model, whose quantizer has no gradient.
    return EncodecModel(EncodecConfig(**sizes, codebook_size=16)).encoder


def patchtst() -> nn.Module:
    patches = {"num_input_channels": 2, "context_length": FRAMES, "patch_length": 4}
    sizes = {"d_model": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 16}
    # Its default, BatchNorm, is refused: see the tests of batch normalization.
    norm = {"norm_type": "layernorm", "path_dropout": 0.3, "do_mask_input": True}
    return PatchTSTModel(PatchTSTConfig(**patches, **sizes, **norm, patch_stride=4, init_std=0.3))


AUDIO_FAMILIES = {
    "wav2vec2": Kind(
        lambda: Wav2Vec2Model(Wav2Vec2Config(**WAVEFORM, **MASKED_CHANNELS, **POSITIONS)),
        waveforms,
        is_stochastic=True,
    ),
    "hubert": Kind(
        lambda: HubertModel(HubertConfig(**WAVEFORM, **MASKED_CHANNELS, **POSITIONS)),
        waveforms,
        is_stochastic=True,
    ),
    # No mask: torch deprecates how WavLM passes it on. No masked channels: its settings lack one.
    "wavlm": Kind(
        lambda: WavLMModel(WavLMConfig(**WAVEFORM, **POSITIONS)),
        unmasked_waveforms,
        is_stochastic=True,
    ),
    "data2vec_audio": Kind(
        lambda: Data2VecAudioModel(Data2VecAudioConfig(**WAVEFORM, **MASKED_CHANNELS)),
        waveforms,
        is_stochastic=True,
    ),
    "whisper": Kind(whisper, transcribed_spectrograms, is_stochastic=True),
    "ast": Kind(ast, spectrograms, is_stochastic=True),
    "encodec_encoder": Kind(encodec_encoder, sounds),
    "patchtst": Kind(patchtst, series, is_stochastic=True),
}
