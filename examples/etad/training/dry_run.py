"""Memory and operations of a run, estimated before it starts."""

from typing import TypedDict

import torch
from torch import Tensor

from examples.etad.detectors.etad.dry_run_head import DetectorHead
from examples.etad.end_to_end import ETAD
from examples.etad.settings.config import Config
from sgs import Estimate, estimate, plan, readable_bytes


class _Step(TypedDict):
    """Arguments that `estimate` and `plan` share, besides the encoder and its items."""

    head: DetectorHead
    optimizer: type[torch.optim.AdamW]
    items_on_device: bool
    autocast: torch.dtype | None


def dry_run(config: Config, *, num_videos: int) -> str:
    """Describe the run, and the memory and operations of one of its steps.

    Allocates nothing of the size of a step and reads no video. `DetectorHead` replaces the losses.

    Args:
        config: The settings of the run.
        num_videos: Videos to train on.

    Raises:
        ValueError: If the memory budget is too small.
    """
    model = ETAD(config, pretrained=False)
    batch_size = min(config.train.batch_size, num_videos)
    frames = _frames(config, batch_size)
    step = _Step(
        head=DetectorHead(model.detector, num_videos=batch_size, ratio=config.proposals.ratio),
        optimizer=torch.optim.AdamW,
        items_on_device=False,
        autocast=torch.bfloat16 if config.train.precision == "bfloat16" else None,
    )
    lines = [_sizes(config, batch_size=batch_size, num_videos=num_videos)]
    if not config.encoder.frozen:
        if config.encoder.memory_budget:
            plan(model.encode, frames, config.encoder.memory_budget, **step).apply(model.encode)
        lines.append(
            f"encoder.micro_batch_size={model.encode.sizes.micro_batch_size} "
            f"encoder.forward_micro_batch_size={model.encode.sizes.forward_micro_batch_size} "
            f"encoder.kept_graphs={model.encode.sizes.kept_graphs}"
        )
    lines.append(str(estimate(model.encode, frames, method="sgs", **step)))
    others = ("naive", "checkpointed")
    lines += [_in_short(estimate(model.encode, frames, method=name, **step)) for name in others]
    return "\n".join(lines)


def _frames(config: Config, batch_size: int) -> Tensor:
    """Return a batch that has a shape and no values."""
    data = config.data
    size = (3, data.frames_per_snippet, data.frame_size, data.frame_size)
    return torch.empty(batch_size, data.num_snippets, *size, dtype=torch.uint8, device="meta")


def _sizes(config: Config, *, batch_size: int, num_videos: int) -> str:
    data = config.data
    return (
        f"{config.train.epochs} epochs of {max(1, num_videos // batch_size)} steps, each of "
        f"{batch_size} videos x {data.num_snippets} snippets x {data.frames_per_snippet} frames of "
        f"{data.frame_size} x {data.frame_size} pixels"
    )


def _in_short(found: Estimate) -> str:
    tera = found.total_flops / 1e12
    return f"{found.method}: {readable_bytes(found.peak_bytes)}, {tera:.4g} TFLOP"
