"""Checkpoints: written whole or not at all, loaded without running code from the file."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; a crash leaves the one that was there before.

    Args:
        path: Where to; its folder is made.
        content: Tensors, numbers, strings, and dicts and lists of them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("wb") as file:
        torch.save(dict(content), file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is no checkpoint of this example.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path}: no such file. Train first, with train.py.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A broken file can raise any error in torch.load.
        raise ValueError(
            f"checkpoint {path}: cannot be read ({error}). It is damaged or no checkpoint; use "
            "another, or train anew."
        ) from error
    if not isinstance(content, dict) or not {"model", "config", "classes"} <= content.keys():
        raise ValueError(
            f"checkpoint {path}: expected one written by train.py, with the keys 'model', 'config' "
            "and 'classes'."
        )
    return content


def git_commit() -> str:
    """Return the commit of the code; empty outside of a repository."""
    result = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return result.stdout.strip()
