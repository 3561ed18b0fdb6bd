"""Options of the command line that several scripts share."""

import argparse
from pathlib import Path

import torch


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that shows the docstring of a script as it is, with `--results`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, help="file for the rows")
    return parser


def timing_parser_of(description: str | None) -> argparse.ArgumentParser:
    """Add `--device` and `--rounds`."""
    parser = parser_of(description)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, help="rounds that count")
    return parser


def device_of(arguments: argparse.Namespace) -> torch.device:
    """Return the chosen device. On a CPU, use one thread from now on."""
    device = torch.device(arguments.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    return device
