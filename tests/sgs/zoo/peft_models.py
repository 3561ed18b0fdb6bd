"""Adapters of `peft`, trained around a frozen text model of `transformers`."""

from functools import partial
from typing import Any

from torch import nn
from transformers import BertConfig, BertModel

from tests.sgs.families.text import SMALL, tokens
from tests.sgs.zoo.foreign import Foreign
from tests.sgs.zoo.package import imported


def adapted(config: str, **settings: Any) -> nn.Module:
    peft, bert = imported("peft"), BertModel(BertConfig(**SMALL | {"num_hidden_layers": 1}))
    return peft.get_peft_model(bert, getattr(peft, config)(**settings))


def line(config: str, **settings: Any) -> Foreign:
    build = partial(adapted, config, **settings)
    return Foreign(build, tokens, is_stochastic=True, package="peft")


LOW_RANK = {"r": 2, "lora_dropout": 0.2, "target_modules": ["query", "value"]}

PEFT = {
    "peft_lora": line("LoraConfig", **LOW_RANK),
    "peft_dora": line("LoraConfig", use_dora=True, **LOW_RANK),
    "peft_prefix_tuning": line(
        "PrefixTuningConfig", num_virtual_tokens=2, task_type="FEATURE_EXTRACTION"
    ),
}
