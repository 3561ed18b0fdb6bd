"""Freezing the first stages of an encoder, and running them on their own."""

from collections import OrderedDict

from torch import nn

from examples.etad.model.encoders.staged import StagedEncoder


def freeze_stages(encoder: nn.Module, frozen_stages: int) -> None:
    """Stop the training of the first stages and of what comes before them.

    The paper freezes two (section 4.1). For ResNets these are the stem, layer1 and layer2; for
    transformers a stage is a layer.

    Args:
        encoder: Its parameters are marked in place.
        frozen_stages: How many; 0 for none.

    Raises:
        ValueError: If the encoder does not have so many stages.
    """
    if frozen_stages == 0:
        return
    frozen, _ = _cut(encoder, frozen_stages, caller="freeze_stages")
    nn.Sequential(frozen).requires_grad_(False)


def split_encoder(encoder: nn.Module, frozen_stages: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Freeze the first stages and return them apart from the others.

    `trunk(stem(snippets))` is the same as `encoder(snippets)`, to the last bit. Modules are shared,
    not copied, and keep their names.

    Args:
        encoder: Its parameters are marked in place, as by `freeze_stages`.
        frozen_stages: How many stages the stem has, at least 1.

    Returns:
        The stem, which has nothing to train, and the trunk.

    Raises:
        ValueError: If the encoder does not have so many stages.

    Example:
        >>> from examples.etad.model.encoders.resnet50_tsm import resnet50_tsm
        >>> stem, trunk = split_encoder(resnet50_tsm(), 2)
        >>> [name for name, _ in stem.named_children()]
        ['normalise', 'stem', 'layer1', 'layer2']
        >>> [name for name, _ in trunk.named_children()]
        ['layer3', 'layer4', 'pool']
    """
    frozen, others = _cut(encoder, frozen_stages, caller="split_encoder")
    return nn.Sequential(frozen).requires_grad_(False), nn.Sequential(others)


def _cut(
    encoder: nn.Module, frozen_stages: int, *, caller: str
) -> tuple[OrderedDict[str, nn.Module], OrderedDict[str, nn.Module]]:
    if not isinstance(encoder, StagedEncoder):
        raise ValueError(
            f"{caller}(frozen_stages={frozen_stages}): {type(encoder).__name__} has no stages. "
            "Set encoder.frozen_stages=0, or choose another encoder."
        )
    parts = list(encoder.named_children())
    names = [name for name, _ in parts]
    last = f"layer{frozen_stages}"
    if last not in names:
        num_stages = sum(name.startswith("layer") for name in names)
        raise ValueError(
            f"{caller}(frozen_stages={frozen_stages}): expected 1 to {num_stages}, the stages of "
            "this encoder."
        )
    end = names.index(last) + 1
    return OrderedDict(parts[:end]), OrderedDict(parts[end:])
