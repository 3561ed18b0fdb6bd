"""Encoders of other packages with random weights: one line in a table adds one to every test."""

from tests.sgs.zoo.diffusers_models import DIFFUSERS
from tests.sgs.zoo.monai_models import MONAI
from tests.sgs.zoo.peft_models import PEFT
from tests.sgs.zoo.timm_models import TIMM
from tests.sgs.zoo.vit_pytorch_models import VIT_PYTORCH
from tests.sgs.zoo.x_transformers_models import X_TRANSFORMERS

ZOO = {**TIMM, **VIT_PYTORCH, **X_TRANSFORMERS, **MONAI, **PEFT, **DIFFUSERS}
