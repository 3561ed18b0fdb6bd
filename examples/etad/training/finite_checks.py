"""Checks that keep NaN and infinity out of the weights and the checkpoint."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

_CURES = (
    "Lower the learning rates, set train.clip_norm, try train.precision=float32, or look at these "
    "videos."
)


def check_loss(loss: Tensor, video_ids: Sequence[str]) -> None:
    """Stop before the backward pass of a loss that is not finite.

    Raises:
        FloatingPointError: If the loss is NaN or infinite.
    """
    if not bool(loss.isfinite()):
        raise FloatingPointError(
            f"the loss is {float(loss):g} for the videos {list(video_ids)}. {_CURES}"
        )


def check_gradients(model: nn.Module, norm: Tensor, *, video_ids: Sequence[str]) -> None:
    """Stop before an optimizer step whose gradients are not finite, although the loss is.

    bfloat16 has the range of float32 and needs no loss scaling, so such a gradient is always a
    fault. Do not call this under a GradScaler: with float16 gradients may overflow, and the scaler
    must see the infinity to skip the step and lower its scale.

    Args:
        model: Its parameters are searched only if the norm is not finite.
        norm: Norm of all gradients, which clipping needs anyway. One number: one wait for the
            device.
        video_ids: Videos of the step.

    Raises:
        FloatingPointError: If a gradient is NaN or infinite, or the norm overflows.
    """
    if bool(norm.isfinite()):
        return
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    broken = _not_finite(gradients)
    found = "are too large: their norm overflows"
    if broken:
        found = f"of {_some(broken)} are not finite ({len(broken)} of {len(gradients)} parameters)"
    raise FloatingPointError(
        f"the gradients {found}, for the videos {list(video_ids)}. The weights are those before "
        f"this step. {_CURES}"
    )


def check_weights(model: nn.Module) -> None:
    """Stop before a model with broken weights replaces the last checkpoint.

    Raises:
        FloatingPointError: If a parameter or buffer is NaN or infinite.
    """
    broken = _not_finite(model.state_dict())
    if broken:
        raise FloatingPointError(
            f"the weights {_some(broken)} are not finite. No checkpoint is written; an earlier one "
            "stays as it is. Lower the learning rates or train.weight_decay."
        )


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
