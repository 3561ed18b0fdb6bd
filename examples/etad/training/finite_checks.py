"""Checks that keep NaN and infinity out of the weights."""

from torch import Tensor


def check_finite(loss: Tensor, video_ids: list[str]) -> None:
    """Stop before a broken loss spoils the weights."""
    if not bool(loss.isfinite()):
        raise FloatingPointError(
            f"the loss is {float(loss):g} for the videos {video_ids}. Lower the learning rates, "
            "set train.clip_norm, or look at these videos."
        )
