"""The device a run uses."""

import torch


def pick_device(name: str) -> torch.device:
    """Return the device of this name; "auto" prefers CUDA."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
