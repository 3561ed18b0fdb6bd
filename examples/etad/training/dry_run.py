"""What a run will take, before it is started."""

import torch

from examples.etad.detectors.etad.dry_run_head import DetectorHead
from examples.etad.end_to_end import ETAD
from examples.etad.settings.config import Config
from sgs import Estimate, estimate, plan
from sgs.planning.byte_size import readable_bytes


def dry_run(config: Config, *, num_videos: int) -> str:
    """Describe the run, and the memory and operations of one of its steps.

    Nothing of the size of a step is allocated, and no video is read. The losses are stood in for,
    see `DetectorHead`.

    Args:
        config: The settings of the run.
        num_videos: Videos to train on.

    Raises:
        ValueError: If the memory budget is too small.
    """
    model, data, settings = ETAD(config, pretrained=False), config.data, config.train
    batch_size = min(settings.batch_size, num_videos)
    head = DetectorHead(model.detector, num_videos=batch_size, ratio=config.proposals.ratio)
    size = (3, data.frames_per_snippet, data.frame_size, data.frame_size)
    frames = torch.empty(batch_size, data.num_snippets, *size, dtype=torch.uint8, device="meta")
    options = {
        "head": head,
        "optimizer": torch.optim.AdamW,
        "items_on_device": False,
        "autocast": torch.bfloat16 if settings.precision == "bfloat16" else None,
    }
    lines = [
        f"{settings.epochs} epochs of {max(1, num_videos // batch_size)} steps, each of "
        f"{batch_size} videos x {data.num_snippets} snippets x {data.frames_per_snippet} frames of "
        f"{data.frame_size} x {data.frame_size} pixels"
    ]
    if not config.encoder.frozen:
        if config.encoder.memory_budget:
            planned = plan(model.encode, frames, config.encoder.memory_budget, **options)
            planned.apply(model.encode)
        lines.append(
            f"encoder.micro_batch_size={model.encode.micro_batch_size} "
            f"encoder.forward_micro_batch_size={model.encode.forward_micro_batch_size} "
            f"encoder.kept_graphs={model.encode.kept_graphs}"
        )
    found = {
        method: estimate(model.encode, frames, method=method, **options)
        for method in ("sgs", "naive", "checkpointed")
    }
    lines += [str(found["sgs"]), *(_in_short(found[name]) for name in ("naive", "checkpointed"))]
    return "\n".join(lines)


def _in_short(found: Estimate) -> str:
    tera = found.total_flops / 1e12
    return f"{found.method}: {readable_bytes(found.peak_bytes)}, {tera:.4g} TFLOP"
