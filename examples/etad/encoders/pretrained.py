"""Loading published weights, under the names of several code bases."""

import argparse
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Applied in this order: a pattern in published names, and its replacement.
_RENAMINGS = [
    # DataParallel, mmaction2, the authors' TSM, TSP
    (r"^((module|backbone|base_model|features)\.)+", ""),
    (r"\.net\.", "."),
    (r"(^|\.)conv(\d)\.bn\.", r"\1bn\2."),
    (r"(^|\.)conv(\d)\.conv\.", r"\1conv\2."),
    (r"\.downsample\.conv\.", ".downsample.0."),
    (r"\.downsample\.bn\.", ".downsample.1."),
    (r"^(conv1|bn1)\.", r"stem.\1."),
    # transformers
    (r"^videomae\.", ""),
    (r"^embeddings\.", "stem.embeddings."),
    (r"^fc_norm\.", "pool.1."),
    (r"\.q_bias$", ".query.bias"),
    (r"\.v_bias$", ".value.bias"),
]
_TRANSFORMER_LAYER = re.compile(r"^encoder\.layer\.(\d+)\.")
_CLASSIFIER = re.compile(r"^(fc\d?|new_fc|cls_head|classifier)\.")
# Keys under which training scripts store the weights.
_CONTAINERS = ("state_dict", "model")


def load_pretrained(encoder: nn.Module, path: Path) -> list[str]:
    """Load published weights: all of them or none.

    Understands torchvision's ResNet-50, the TSM of its authors and of mmaction2, TSP's R(2+1)D-34
    and the VideoMAE of `transformers` after fine-tuning, also as DataParallel saves them.

    Args:
        encoder: Changed in place.
        path: A file of `torch.save`. It is read without running code from it.

    Returns:
        The names of the classifier's weights, the only ones that are left out.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, lacks weights, has others, or some of another shape or
            that are not finite.
    """
    content = _read(path)
    found = {_our_name(name): (name, value) for name, value in content.items()}
    expected = encoder.state_dict()
    left_out = {ours for ours in found.keys() - expected.keys() if _CLASSIFIER.match(ours)}
    # Counters that frozen normalization ignores and older files lack.
    optional = {name for name in expected if name.endswith(".num_batches_tracked")}
    matched = expected.keys() & found.keys()
    problems = {
        "missing": expected.keys() - found.keys() - optional,
        "unknown": {found[ours][0] for ours in found.keys() - expected.keys() - left_out},
        "present twice": content.keys() - {name for name, _ in found.values()},
        "of another shape": {n for n in matched if found[n][1].shape != expected[n].shape},
        "not finite": {n for n in matched if not bool(found[n][1].isfinite().all())},
    }
    if any(problems.values()):
        raise ValueError(
            f"encoder.checkpoint={str(path)!r}: does not fit the encoder. Weights "
            + "; ".join(f"{kind}: {_some(names)}" for kind, names in problems.items() if names)
            + ". Is it a checkpoint of encoder.name?"
        )
    encoder.load_state_dict(expected | {ours: found[ours][1] for ours in matched})
    return sorted(found[ours][0] for ours in left_out)


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"encoder.checkpoint={str(path)!r}: no such file.")
    try:
        # TSP's files hold the parsed command line, which is only data.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A broken file can raise any error in torch.load.
        raise ValueError(
            f"encoder.checkpoint={str(path)!r}: cannot be read. It is damaged, or holds more "
            "than weights; save its state dict alone."
        ) from error
    for container in _CONTAINERS:
        if isinstance(content, dict) and isinstance(content.get(container), dict):
            content = content[container]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(
            f"encoder.checkpoint={str(path)!r}: expected a state dict, alone or as "
            f"{' or '.join(map(repr, _CONTAINERS))}."
        )
    return content


def _our_name(name: str) -> str:
    for pattern, replacement in _RENAMINGS:
        name = re.sub(pattern, replacement, name)
    # Counted from 1 here, as the stages of ResNets are.
    return _TRANSFORMER_LAYER.sub(lambda match: f"layer{int(match[1]) + 1}.", name)


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return ", ".join(ordered[:3]) + more
