"""Encoders of `transformers` with random weights: one line in a table adds one to every test."""

from tests.sgs.families.audio import AUDIO_FAMILIES
from tests.sgs.families.decoders import DECODER_FAMILIES
from tests.sgs.families.text import TEXT_FAMILIES
from tests.sgs.families.vision import IMAGE_FAMILIES, VIDEO_FAMILIES

FAMILIES = {
    **TEXT_FAMILIES,
    **DECODER_FAMILIES,
    **IMAGE_FAMILIES,
    **AUDIO_FAMILIES,
    **VIDEO_FAMILIES,
}
