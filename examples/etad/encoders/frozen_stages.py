"""Separating the first stages of an encoder, which do not train, from the others."""

from collections import OrderedDict

from torch import nn

from examples.etad.encoders.staged import StagedEncoder


def split_encoder(encoder: nn.Module, frozen_stages: int) -> tuple[nn.Sequential | None, nn.Module]:
    """Freeze the first stages and what comes before them, and return them apart from the others.

    `trunk(stem(snippets))` is the same as `encoder(snippets)`, to the last bit. Modules are shared,
    not copied, and keep their names. The paper freezes two stages (section 4.1): for ResNets these
    are the stem, layer1 and layer2; for transformers a stage is a layer.

    Args:
        encoder: Its parameters are marked in place.
        frozen_stages: How many stages the stem has; 0 for no stem.

    Returns:
        The stem, which has nothing to train, and the trunk; None and the encoder if there is none.

    Raises:
        ValueError: If the encoder does not have so many stages.

    Example:
        >>> from examples.etad.encoders.resnet50_tsm import resnet50_tsm
        >>> stem, trunk = split_encoder(resnet50_tsm(), 2)
        >>> [name for name, _ in stem.named_children()]
        ['normalise', 'stem', 'layer1', 'layer2']
        >>> [name for name, _ in trunk.named_children()]
        ['layer3', 'layer4', 'pool']
    """
    if frozen_stages == 0:
        return None, encoder
    if not isinstance(encoder, StagedEncoder):
        raise ValueError(
            f"split_encoder(frozen_stages={frozen_stages}): {type(encoder).__name__} has no stages."
            " Set encoder.frozen_stages=0, or choose another encoder."
        )
    parts = list(encoder.named_children())
    names = [name for name, _ in parts]
    last = f"layer{frozen_stages}"
    if last not in names:
        num_stages = sum(name.startswith("layer") for name in names)
        raise ValueError(
            f"split_encoder(frozen_stages={frozen_stages}): expected 0 to {num_stages}, the stages "
            "of this encoder."
        )
    end = names.index(last) + 1
    stem, trunk = OrderedDict(parts[:end]), OrderedDict(parts[end:])
    return nn.Sequential(stem).requires_grad_(False), nn.Sequential(trunk)
